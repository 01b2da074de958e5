package runc

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Become replaces the engine by runc with these arguments. It returns only if that fails.
func Become(path string, args []string) error {
	err := syscall.Exec(path, append([]string{"runc"}, args...), os.Environ())
	return fmt.Errorf("%s: %w", path, err)
}

// ErrTimeout is returned when runc was ended because it took too long.
var ErrTimeout = errors.New("took too long and was ended")

// Run runs runc with the engine's own stdio. After the timeout, or when stop is closed, runc is
// ended with everything that it started.
func Run(path string, args []string, timeout time.Duration, stop <-chan struct{}) error {
	cmd := exec.Command(path)
	cmd.Args = append([]string{"runc"}, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	done, err := StartTied(cmd)
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-time.After(timeout):
	case <-stop:
	}
	killTree(cmd.Process.Pid)
	<-done
	return ErrTimeout
}

// StartTied starts a child that dies with the engine: nobody would be left to end it when it hangs, nor to undo
// what it did. done receives what Wait returns.
func StartTied(cmd *exec.Cmd) (done <-chan error, err error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started, ended := make(chan error), make(chan error, 1)
	go func() {
		// The kernel sends the signal when the thread ends that forked: it has to live as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	return ended, <-started
}

// LastError returns the last error in a log that runc wrote with --log-format json.
func LastError(path string) string {
	raw, _ := os.ReadFile(path)
	last := ""
	for _, line := range strings.Split(string(raw), "\n") {
		var entry struct{ Level, Msg string }
		if json.Unmarshal([]byte(line), &entry) == nil && (entry.Level == "error" || entry.Level == "fatal") {
			last = strings.TrimSpace(entry.Msg)
		}
	}
	return last
}

// killTree ends a process and its descendants, and waits until they are gone. The half restored processes of a
// hanging CRIU are among them: they are runc's children, in sessions and a PID namespace of their own.
func killTree(pid int) {
	syscall.Kill(pid, syscall.SIGSTOP) // no new children while we look
	tree := descendants(pid)
	for _, p := range tree {
		syscall.Kill(p, syscall.SIGKILL)
	}
	syscall.Kill(pid, syscall.SIGKILL)
	deadline := time.Now().Add(2 * time.Second)
	for _, p := range tree {
		for time.Now().Before(deadline) && runs(p) {
			time.Sleep(time.Millisecond)
		}
	}
}

// runs reports whether a process exists that is not a zombie.
func runs(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	return len(fields) > 0 && fields[0] != "Z" && fields[0] != "X"
}

func descendants(pid int) []int {
	var found []int
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		raw, _ := os.ReadFile(list)
		for _, word := range strings.Fields(string(raw)) {
			if child, err := strconv.Atoi(word); err == nil {
				found = append(found, child)
				found = append(found, descendants(child)...)
			}
		}
	}
	return found
}

// CleanUp removes what a failed restore left behind. CRIU's mount of the root file system goes first:
// runc would remove the container's files through it.
func CleanUp(path string, globals []string, root, id, rootfs string, mounted map[string]bool) {
	criuRoot := filepath.Join(StatePath(root, id), "criu-root")
	for range 16 {
		if syscall.Unmount(criuRoot, syscall.MNT_DETACH) != nil {
			break
		}
	}
	left := MountsBelow(rootfs)
	for i := len(left) - 1; i >= 0; i-- {
		if !mounted[left[i]] {
			syscall.Unmount(left[i], syscall.MNT_DETACH)
		}
	}
	if _, err := os.Stat(StatePath(root, id)); err != nil {
		return
	}
	args := append(append([]string{}, globals...), "delete", "--force", id)
	cmd := exec.Command(path)
	cmd.Args = append([]string{"runc"}, args...)
	cmd.Run()
}

// MountsBelow lists the mount points below a folder, outermost first.
func MountsBelow(folder string) []string {
	raw, _ := os.ReadFile("/proc/self/mountinfo")
	var found []string
	for _, line := range strings.Split(string(raw), "\n") {
		if fields := strings.Fields(line); len(fields) > 4 {
			if point := Unescape(fields[4]); strings.HasPrefix(point, folder+"/") {
				found = append(found, point)
			}
		}
	}
	return found
}

// Unescape undoes the octal escapes of /proc/*/mountinfo.
func Unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}
