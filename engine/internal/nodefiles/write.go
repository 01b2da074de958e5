package nodefiles

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

// Write writes a JSON file whole: a reader sees the old one or the new one.
func Write(path string, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return WriteRaw(path, append(raw, '\n'))
}

// WriteRaw writes a file whole, into <name>.tmp-<pid> beside it, then renamed.
func WriteRaw(path string, raw []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	temporary := fmt.Sprintf("%s.tmp-%d", path, os.Getpid())
	if err := os.WriteFile(temporary, raw, 0o600); err != nil {
		os.Remove(temporary)
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		os.Remove(temporary)
		return err
	}
	return nil
}

const clockBoottime = 7

// Boottime returns CLOCK_BOOTTIME in seconds. It goes on while the machine sleeps and is never set.
func Boottime() float64 {
	var ts syscall.Timespec
	syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockBoottime, uintptr(unsafe.Pointer(&ts)), 0)
	return float64(ts.Sec) + float64(ts.Nsec)/1e9
}

// BootAge returns for how many seconds the node has been up. A node may be a container (kind): then CLOCK_BOOTTIME
// counts from its host's boot, and only the age of its first process says when the node itself was started.
// Without an answer the node counts as just booted: nothing starts blank because of that.
func BootAge() float64 {
	started, err := startOf(1)
	if err != nil {
		return 0
	}
	return Boottime() - started
}

// startOf returns when a process was started. A zombie does not count: it will do nothing any more.
func startOf(pid int) (float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return startTime(string(raw))
}

// startTime returns when the process of a /proc/<pid>/stat was started, in seconds of CLOCK_BOOTTIME.
func startTime(stat string) (float64, error) {
	// "pid (name) state ppid ...": the name may hold anything, so count from its end. Field 22 is the start.
	const start, userHZ = 19, 100
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) <= start {
		return 0, fmt.Errorf("not a stat of a process: %q", stat)
	}
	if state := fields[0]; state == "Z" || state == "X" {
		return 0, fmt.Errorf("a zombie: %q", stat)
	}
	ticks, err := strconv.ParseUint(fields[start], 10, 64)
	return float64(ticks) / userHZ, err
}

// BootID returns the id of this boot.
func BootID() string {
	raw, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(raw))
}
