// Package runc runs runc and reads what it knows about a container.
package runc

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"reprise.dev/engine/internal/freezer"
)

// State holds the fields of runc's state.json that a dump needs.
type State struct {
	ID                  string            `json:"id"`
	Pid                 int               `json:"init_process_pid"`
	PidStart            uint64            `json:"init_process_start"`
	Created             time.Time         `json:"created"`
	CgroupPaths         map[string]string `json:"cgroup_paths"`
	ExternalDescriptors []string          `json:"external_descriptors"`
	Config              struct {
		Rootfs string `json:"rootfs"`
		Mounts []struct {
			Destination string `json:"destination"`
			Device      string `json:"device"`
		} `json:"mounts"`
		Devices []struct {
			Path string `json:"path"`
		} `json:"devices"`
		Namespaces []struct {
			Type string `json:"type"`
			Path string `json:"path"`
		} `json:"namespaces"`
		MaskPaths []string `json:"mask_paths"`
		Labels    []string `json:"labels"`
	} `json:"config"`
}

// StatePath returns the folder in which runc keeps a container. root is --root, or "".
func StatePath(root, id string) string {
	if root == "" {
		root = "/run/runc"
	}
	return filepath.Join(root, id)
}

// ReadState reads state.json.
func ReadState(root, id string) (State, error) {
	var s State
	raw, err := os.ReadFile(filepath.Join(StatePath(root, id), "state.json"))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, fmt.Errorf("runc's state of %s: %w", id, err)
	}
	return s, nil
}

// Annotations returns those of the bundle's config.json, which runc keeps as labels. It adds one, "bundle", as the last: whatever a
// pod's own annotation of that name says comes before (libcontainer/specconv/spec_linux.go, CreateLibcontainerConfig).
func (s State) Annotations() map[string]string {
	found := make(map[string]string, len(s.Config.Labels))
	for _, label := range s.Config.Labels {
		if key, value, ok := strings.Cut(label, "="); ok {
			found[key] = value
		}
	}
	return found
}

// Bundle returns the bundle's folder.
func (s State) Bundle() string { return s.Annotations()["bundle"] }

// Alive reports whether the container's first process runs: the same one, and not a zombie.
func (s State) Alive() bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.Pid))
	if err != nil || s.Pid <= 0 {
		return false
	}
	// "pid (name) state ppid ...": the name may hold anything, so count from its end. Field 22 is the start.
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	const state, start = 0, 19
	if len(fields) <= start || fields[state] == "Z" || fields[state] == "X" {
		return false
	}
	return fields[start] == strconv.FormatUint(s.PidStart, 10)
}

// Group returns the cgroup that freezes the container.
func (s State) Group() (freezer.Group, error) { return freezer.Of(s.CgroupPaths) }

// ExternalNamespaces names the namespaces that the pod owns, as runc names them for CRIU.
func (s State) ExternalNamespaces() ([]string, error) {
	var external []string
	for _, ns := range s.Config.Namespaces {
		name, key := "", ""
		switch ns.Type {
		case "NEWNET":
			name, key = "net", "extRootNetNS"
		case "NEWPID":
			name, key = "pid", "extRootPidNS"
		}
		if name == "" || ns.Path == "" {
			continue
		}
		var stat syscall.Stat_t
		if err := syscall.Stat(ns.Path, &stat); err != nil {
			return nil, fmt.Errorf("%s: %w", ns.Path, err)
		}
		external = append(external, fmt.Sprintf("%s[%d]:%s", name, stat.Ino, key))
	}
	return external, nil
}

// ExternalMounts returns what runc tells CRIU to find outside: bind mounts, cgroup v1's, masked files, devices.
func (s State) ExternalMounts(unified bool) map[string]string {
	mounts := map[string]string{}
	add := func(destination string) {
		inside := Inside(s.Config.Rootfs, strings.TrimPrefix(destination, s.Config.Rootfs))
		mounts[inside] = inside
	}
	cgroupNamespace := false
	for _, ns := range s.Config.Namespaces {
		cgroupNamespace = cgroupNamespace || ns.Type == "NEWCGROUP"
	}
	for _, m := range s.Config.Mounts {
		switch {
		case m.Device == "bind":
			add(m.Destination)
		case m.Device == "cgroup" && !unified && !cgroupNamespace:
			for _, hierarchy := range cgroupMounts() {
				add(filepath.Join(m.Destination, filepath.Base(hierarchy)))
			}
		}
	}
	for _, device := range s.Config.Devices {
		add(device.Path)
	}
	for _, masked := range s.Config.MaskPaths {
		info, err := os.Stat(fmt.Sprintf("/proc/%d/root/%s", s.Pid, masked))
		if err == nil && !info.IsDir() {
			mounts[masked] = "/dev/null"
		}
	}
	return mounts
}

// cgroupMounts returns the mount points of cgroup v1's hierarchies, each once.
func cgroupMounts() []string {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	defer file.Close()
	own := ownHierarchies()
	seen := map[string]bool{}
	var found []string
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields, tail := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(tail) < 3 || tail[0] != "cgroup" {
			continue
		}
		fresh := false
		for _, option := range strings.Split(tail[2], ",") {
			if own[option] && !seen[option] {
				seen[option], fresh = true, true
			}
		}
		if fresh {
			found = append(found, fields[4])
		}
	}
	return found
}

func ownHierarchies() map[string]bool {
	raw, _ := os.ReadFile("/proc/self/cgroup")
	own := map[string]bool{}
	for _, line := range strings.Split(string(raw), "\n") {
		if parts := strings.SplitN(line, ":", 3); len(parts) == 3 && parts[1] != "" {
			for _, controller := range strings.Split(parts[1], ",") {
				own[controller] = true
			}
		}
	}
	return own
}

// Unified reports whether the node has cgroup v2 only, as runc finds out.
func Unified() bool {
	var fs syscall.Statfs_t
	return syscall.Statfs("/sys/fs/cgroup", &fs) == nil && fs.Type == 0x63677270
}

// Inside resolves the symlinks of a path in a root file system and returns where it leads inside of that root.
func Inside(root, path string) string {
	const maxLinks = 40
	resolved, rest := "/", strings.Split(path, "/")
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		if part == "" || part == "." {
			continue
		}
		if part == ".." {
			resolved = filepath.Dir(resolved)
			continue
		}
		next := filepath.Join(resolved, part)
		link, err := os.Readlink(filepath.Join(root, next))
		if err != nil || links == maxLinks {
			resolved = next
			continue
		}
		links++
		if filepath.IsAbs(link) {
			resolved = "/"
		}
		rest = append(strings.Split(link, "/"), rest...)
	}
	return resolved
}
