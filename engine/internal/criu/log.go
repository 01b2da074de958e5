package criu

import (
	"bufio"
	"os"
	"regexp"
	"strings"
)

// Lines that report another error, or that CRIU prints for what it can do without.
var secondary = []string{
	"Restoring FAILED", "Dumping FAILED", "killed by signal", "exited with", "exited, status", "Unable to get",
	"Can't wait or bad status", "Can't attach to", "Unable to interrupt task", "network-unlock", "post-", "NFTABLES",
	"sched_setaffinity", "Restoring fds failed", "cr-restore.c:", "Can't lookup mount", "Killing processes because of failure",
	"Can't setup RLIMIT_NOFILE", // without CAP_SYS_RESOURCE; CRIU goes on
}

// mostErrors bounds what is told of one log.
const mostErrors = 8

// Cause returns the first error in a CRIU log that explains the others, or "".
func Cause(path string) string {
	first, _, _ := strings.Cut(Errors(path), "\n")
	return first
}

// Errors returns the errors in a CRIU log that explain the others, a line each, or "". Which of them is the cause is often told
// by a later one: a file that cannot be sent over a socket shows only there that it belongs to io_uring.
func Errors(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	var found []string
	secondary, stamp := "", regexp.MustCompile(`^\([0-9.]+\)\s*(?:pie:\s*)?(?:\d+:\s*)?`)
	lines := bufio.NewScanner(file)
	lines.Buffer(make([]byte, 64<<10), 1<<20)
	for lines.Scan() && len(found) < mostErrors {
		line := strings.TrimSpace(stamp.ReplaceAllString(lines.Text(), ""))
		// "Error (criu/files-reg.c:1234): File data/wal has bad size ..."
		if !strings.HasPrefix(line, "Error") {
			continue
		}
		if !isSecondary(line) {
			found = append(found, withoutPlace(line))
		} else if secondary == "" {
			secondary = withoutPlace(line)
		}
	}
	if len(found) == 0 {
		return secondary
	}
	return strings.Join(found, "\n")
}

func isSecondary(line string) bool {
	for _, s := range secondary {
		if strings.Contains(line, s) {
			return true
		}
	}
	return false
}

// withoutPlace drops the place in CRIU's source.
func withoutPlace(line string) string {
	if _, after, ok := strings.Cut(line, "): "); ok && strings.HasPrefix(line, "Error (") {
		return strings.TrimSpace(after)
	}
	return line
}
