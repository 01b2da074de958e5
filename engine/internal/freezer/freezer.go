// Package freezer stops and releases the processes of a cgroup, on cgroup v1 and v2.
package freezer

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Group is one container's cgroup in the hierarchy that can freeze.
type Group struct {
	Path string
	v1   bool
}

// Of returns the group among runc's cgroup_paths (state.json): "freezer" on v1, "" on v2.
func Of(paths map[string]string) (Group, error) {
	if path := paths["freezer"]; path != "" && exists(filepath.Join(path, "freezer.state")) {
		return Group{path, true}, nil
	}
	if path := paths[""]; path != "" && exists(filepath.Join(path, "cgroup.freeze")) {
		return Group{path, false}, nil
	}
	return Group{}, fmt.Errorf("no cgroup that can be frozen among %v", paths)
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// ErrTimeout is returned when processes do not freeze in time.
var ErrTimeout = errors.New("the cgroup did not freeze in time")

// Freeze stops every process and returns when the kernel says that none runs any more.
// It is the caller who thaws, also after an error.
func (g Group) Freeze(timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	for tries := 0; ; tries++ {
		// v1 can hang in FREEZING while a task forks; writing again is what the kernel's docs ask for.
		if tries%50 == 0 {
			if err := g.write(true); err != nil {
				return err
			}
		}
		frozen, err := g.Frozen()
		if err != nil {
			return err
		}
		if frozen {
			return nil
		}
		if time.Now().After(deadline) {
			return ErrTimeout
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// Thaw lets the processes run.
func (g Group) Thaw() error { return g.write(false) }

// Asked reports whether somebody has asked for the freeze already.
func (g Group) Asked() bool {
	if g.v1 {
		raw, _ := os.ReadFile(filepath.Join(g.Path, "freezer.self_freezing"))
		return strings.TrimSpace(string(raw)) == "1"
	}
	raw, _ := os.ReadFile(filepath.Join(g.Path, "cgroup.freeze"))
	return strings.TrimSpace(string(raw)) == "1"
}

// Frozen reports whether every process stands still.
func (g Group) Frozen() (bool, error) {
	if g.v1 {
		raw, err := os.ReadFile(filepath.Join(g.Path, "freezer.state"))
		return strings.TrimSpace(string(raw)) == "FROZEN", err
	}
	raw, err := os.ReadFile(filepath.Join(g.Path, "cgroup.events"))
	return strings.Contains("\n"+string(raw), "\nfrozen 1"), err
}

func (g Group) write(freeze bool) error {
	name, word := "cgroup.freeze", "0"
	if g.v1 {
		name, word = "freezer.state", "THAWED"
	}
	if freeze {
		word = "1"
		if g.v1 {
			word = "FROZEN"
		}
	}
	return os.WriteFile(filepath.Join(g.Path, name), []byte(word), 0)
}

// Process is a process with its number inside the container.
type Process struct {
	Pid, Inside int
	Stopped     bool // by a signal
}

// Processes lists the processes of the group and of the groups below it.
func (g Group) Processes() ([]Process, error) {
	var found []Process
	err := filepath.WalkDir(g.Path, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.Name() != "cgroup.procs" {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil // a group of a threaded v2 subtree, or one that has just gone
		}
		for _, line := range strings.Fields(string(raw)) {
			if pid, err := strconv.Atoi(line); err == nil && pid > 0 {
				if p, ok := look(pid); ok {
					found = append(found, p)
				}
			}
		}
		return nil
	})
	return found, err
}

// look reads /proc/<pid>/status: State and NSpid, whose last number is the one inside.
func look(pid int) (Process, bool) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Process{}, false
	}
	defer file.Close()
	p := Process{Pid: pid, Inside: pid}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		fields := strings.Fields(value)
		switch {
		case name == "State" && len(fields) > 0:
			p.Stopped = fields[0] == "T"
		case name == "NSpid" && len(fields) > 0:
			p.Inside, _ = strconv.Atoi(fields[len(fields)-1])
			return p, true
		}
	}
	return p, true
}

// Continue sends SIGCONT to each process that was not stopped when it was checkpointed.
// In a frozen cgroup it takes effect at the thaw, not before.
func (g Group) Continue(stopped []int) error {
	processes, err := g.Processes()
	if err != nil {
		return err
	}
	was := map[int]bool{}
	for _, pid := range stopped {
		was[pid] = true
	}
	for _, p := range processes {
		if !was[p.Inside] {
			if err := syscall.Kill(p.Pid, syscall.SIGCONT); err != nil && err != syscall.ESRCH {
				return err
			}
		}
	}
	return nil
}
