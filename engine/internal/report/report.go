// Package report tells others what the engine did: a log of its own, and messages where the runtime looks.
package report

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const maxLogBytes = 1 << 20

// Log appends JSON lines to run_dir/engine.log. Nothing fails because the log does.
type Log struct{ Path string }

// Fields of one line.
type Fields map[string]any

// Write appends one line. A log that is full is kept as engine.log.1.
func (l Log) Write(event string, fields Fields) {
	line := Fields{"time": time.Now().UTC().Format(time.RFC3339Nano), "event": event}
	for k, v := range fields {
		line[k] = v
	}
	raw, err := json.Marshal(line)
	if err != nil {
		return
	}
	if info, err := os.Stat(l.Path); err == nil && info.Size() > maxLogBytes {
		os.Rename(l.Path, l.Path+".1")
	}
	file, err := os.OpenFile(l.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		if os.MkdirAll(filepath.Dir(l.Path), 0o700) != nil {
			return
		}
		if file, err = os.OpenFile(l.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
			return
		}
	}
	defer file.Close()
	file.Write(append(raw, '\n')) // one write: lines of two engines do not mix
}

// Failure says why a command fails, where conmon (stderr) and containerd's shim (--log) read it.
func Failure(logPath, format, message string) {
	message = "reprise: " + message
	fmt.Fprintln(os.Stderr, message)
	if logPath == "" {
		return
	}
	file, err := os.OpenFile(logPath, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return
	}
	defer file.Close()
	now := time.Now().Format(time.RFC3339)
	if format == "json" {
		raw, _ := json.Marshal(map[string]string{"level": "error", "msg": message, "time": now})
		file.Write(append(raw, '\n'))
		return
	}
	fmt.Fprintf(file, "time=%q level=error msg=%q\n", now, message)
}
