// Package nodefiles is the contract of docs/node-files.md: the files that engine and agents share on a node.
package nodefiles

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Version of every file.
const Version = 1

// Config is /etc/reprise/engine.json.
type Config struct {
	Runc     string `json:"runc"`
	RunDir   string `json:"run_dir"`
	StateDir string `json:"state_dir"`
	Criu     struct {
		Config []string `json:"config"`
	} `json:"criu"`
}

// Node is node.json: the agent's sign of life and its lease.
type Node struct {
	Version      int      `json:"version"`
	Node         string   `json:"node"`
	BootID       string   `json:"boot_id"`
	TTLS         float64  `json:"ttl_s"`
	RenewedAtS   *float64 `json:"renewed_at_s"`
	HeartbeatAtS float64  `json:"heartbeat_at_s"`
}

// Pod is pods/<uid>.json.
type Pod struct {
	Version    int                  `json:"version"`
	Namespace  string               `json:"namespace"`
	Pod        string               `json:"pod"`
	UID        string               `json:"uid"`
	Containers map[string]Container `json:"containers"`
}

// Container is what the agent says about one container of a pod.
type Container struct {
	Verdict      string   `json:"verdict"`
	Reason       string   `json:"reason"`
	Slots        []string `json:"slots"`
	CheckpointID string   `json:"checkpoint_id"`
	Rejected     []string `json:"rejected"`
	Frozen       bool     `json:"frozen"`
	Ahead        bool     `json:"ahead"`
	NeverCold    bool     `json:"never_cold"`
}

// Request is requests/<container id>.json.
type Request struct {
	Version      int     `json:"version"`
	CheckpointID string  `json:"checkpoint_id"`
	Slots        string  `json:"slots"`
	Hold         bool    `json:"hold"`
	ExpiresAtS   float64 `json:"expires_at_s"`
}

// DumpStats are CRIU's figures of a dump.
type DumpStats struct {
	FreezingTimeUS     uint64 `json:"freezing_time_us"`
	FrozenTimeUS       uint64 `json:"frozen_time_us"`
	MemdumpTimeUS      uint64 `json:"memdump_time_us"`
	MemwriteTimeUS     uint64 `json:"memwrite_time_us"`
	PagesScanned       uint64 `json:"pages_scanned"`
	PagesSkippedParent uint64 `json:"pages_skipped_parent"`
	PagesWritten       uint64 `json:"pages_written"`
}

// RestoreStats are CRIU's figures of a restore.
type RestoreStats struct {
	RestoreTimeUS   uint64 `json:"restore_time_us"`
	ForkingTimeUS   uint64 `json:"forking_time_us"`
	PagesRestored   uint64 `json:"pages_restored"`
	PagesCompared   uint64 `json:"pages_compared"`
	PagesSkippedCow uint64 `json:"pages_skipped_cow"`
}

// Dump is dumps/<container id>.json.
type Dump struct {
	Version      int       `json:"version"`
	CheckpointID string    `json:"checkpoint_id"`
	ContainerID  string    `json:"container_id"`
	Outcome      string    `json:"outcome"` // ok, failed
	Slot         string    `json:"slot"`
	PauseS       float64   `json:"pause_s"`
	Held         bool      `json:"held"`
	Error        string    `json:"error"`
	Size         int64     `json:"size"`
	Criu         DumpStats `json:"criu"`
}

// Attempt is a checkpoint that was not restored, and why.
type Attempt struct {
	CheckpointID string `json:"checkpoint_id"`
	Error        string `json:"error"`
}

// Start is starts/<container id>.json.
type Start struct {
	Version      int          `json:"version"`
	ContainerID  string       `json:"container_id"`
	Namespace    string       `json:"namespace"`
	Pod          string       `json:"pod"`
	PodUID       string       `json:"pod_uid"`
	Container    string       `json:"container"`
	Outcome      string       `json:"outcome"` // restored, blank, cold, refused
	CheckpointID string       `json:"checkpoint_id"`
	Slot         string       `json:"slot"`
	Frozen       bool         `json:"frozen"`
	Reason       string       `json:"reason"`
	Attempts     []Attempt    `json:"attempts"`
	At           string       `json:"at"`
	AtS          float64      `json:"at_s"`
	TookS        float64      `json:"took_s"`
	Criu         RestoreStats `json:"criu"`
}

// Store reads and writes the files.
type Store struct {
	Config
	Warn func(format string, args ...any) // called for a file that cannot be parsed
}

// Open reads the configuration; a field or file that is missing has its default.
func Open(path string) (Store, error) {
	config := Config{}
	raw, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(raw, &config)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if config.Runc == "" {
		config.Runc = "/usr/bin/runc"
	}
	if config.RunDir == "" {
		config.RunDir = "/run/reprise"
	}
	if config.StateDir == "" {
		config.StateDir = "/var/lib/reprise"
	}
	if config.Criu.Config == nil {
		config.Criu.Config = []string{"skip-in-flight", "file-locks"}
	}
	return Store{Config: config, Warn: func(string, ...any) {}}, err
}

// Slots is the folder of all slots.
func (s Store) Slots() string { return filepath.Join(s.StateDir, "slots") }

// Released reports whether the failover that made a pod is final: the agent writes that down before the pod runs.
func (s Store) Released(uid string) bool {
	if !safe(uid) {
		return false
	}
	_, err := os.Lstat(filepath.Join(s.StateDir, "released", uid))
	return err == nil
}

// Path returns a path below run_dir.
func (s Store) Path(parts ...string) string {
	return filepath.Join(append([]string{s.RunDir}, parts...)...)
}

// Node returns node.json, or nil.
func (s Store) Node() *Node { return read[Node](s, s.Path("node.json"), versionOf) }

// Pod returns what the agent says about a pod, or nil.
func (s Store) Pod(uid string) *Pod {
	if !safe(uid) {
		return nil
	}
	return read[Pod](s, s.Path("pods", uid+".json"), versionOf)
}

// Request returns the request for a container that is in force, or nil.
func (s Store) Request(id string) *Request {
	if id == "" {
		return nil
	}
	r := read[Request](s, s.Path("requests", id+".json"), versionOf)
	if r == nil || Boottime() >= r.ExpiresAtS {
		return nil
	}
	if !safe(r.CheckpointID) || !SafeSlots(r.Slots) {
		s.Warn("request for %s: unsafe name", id)
		return nil
	}
	return r
}

// HasStart reports whether this container is a protected one.
func (s Store) HasStart(id string) bool {
	_, err := os.Stat(s.Path("starts", id+".json"))
	return err == nil
}

// PutStart writes starts/<container id>.json.
func (s Store) PutStart(start Start) error {
	start.Version = Version
	if start.Attempts == nil {
		start.Attempts = []Attempt{}
	}
	return Write(s.Path("starts", start.ContainerID+".json"), start)
}

// PutDump writes dumps/<container id>.json.
func (s Store) PutDump(dump Dump) error {
	dump.Version = Version
	return Write(s.Path("dumps", dump.ContainerID+".json"), dump)
}

// CriuConfigPath is the container's own CRIU configuration file.
func (s Store) CriuConfigPath(id string) string { return s.Path("criu", id+".conf") }

// WorkPath is the folder for CRIU's logs of a container's starts.
func (s Store) WorkPath(id string) string { return s.Path("work", id) }

// MarkRestored notes that a container runs already, before its start.
func (s Store) MarkRestored(id string) error { return WriteRaw(s.Path("restored", id), nil) }

// IsMarked reports whether a container was restored and not started yet.
func (s Store) IsMarked(id string) bool {
	_, err := os.Lstat(s.Path("restored", id))
	return id != "" && err == nil
}

// Unmark removes the mark.
func (s Store) Unmark(id string) error { return os.Remove(s.Path("restored", id)) }

// MarkFreezing notes that this process is about to freeze a container, and has to thaw it. The lock on the mark ends with this
// process, however that ends: who has another PID namespace (the agent) knows by that, and not by a number, whether it lives.
// The mark holds as long as the file is open.
func (s Store) MarkFreezing(id string) (*os.File, error) {
	path := s.Path("freezing", id)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	for end := time.Now().Add(markTimeout); ; time.Sleep(time.Millisecond) {
		mark, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err = lock(mark); err == nil && isAt(mark, path) {
			return mark, nil
		}
		mark.Close()
		if time.Now().After(end) {
			return nil, fmt.Errorf("another checkpoint has the container frozen: %s is locked", path)
		}
	}
}

// markTimeout is long for an agent that thaws, and short for a checkpoint.
const markTimeout = time.Second

func lock(file *os.File) error { return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }

// isAt reports whether a file that is locked has not been removed before it was.
func isAt(file *os.File, path string) bool {
	mine, err := file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(mine, there)
}

// LeftFrozen reports whether an engine that froze a container was ended before it thawed it.
func (s Store) LeftFrozen(id string) bool {
	mark, err := os.Open(s.Path("freezing", id))
	if err != nil {
		return false
	}
	defer mark.Close()
	return lock(mark) == nil
}

// UnmarkFreezing removes the mark.
func (s Store) UnmarkFreezing(id string) { os.Remove(s.Path("freezing", id)) }

// Forget removes everything of a container that the engine wrote for its start. Dumps are the checkpointer's to read.
func (s Store) Forget(id string) {
	if id == "" {
		return
	}
	os.Remove(s.Path("restored", id))
	s.UnmarkFreezing(id)
	if os.Remove(s.Path("starts", id+".json")) != nil {
		return // nothing of ours
	}
	os.Remove(s.CriuConfigPath(id))
	os.RemoveAll(s.WorkPath(id))
	s.sweepDumps()
}

// sweepDumps removes old reports. A young one may still be unread, though its container is gone.
func (s Store) sweepDumps() {
	entries, _ := os.ReadDir(s.Path("dumps"))
	for _, e := range entries {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > time.Hour {
			os.Remove(s.Path("dumps", e.Name()))
		}
	}
}

func versionOf(raw []byte) error {
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return err
	}
	if head.Version != Version {
		return fmt.Errorf("version %d, not %d", head.Version, Version)
	}
	return nil
}

func read[T any](s Store, path string, check func([]byte) error) *T {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	value := new(T)
	if err == nil {
		err = check(raw)
	}
	if err == nil {
		err = json.Unmarshal(raw, value)
	}
	if err != nil {
		s.Warn("%s: treated as absent: %v", path, err)
		return nil
	}
	return value
}

func safe(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00")
}

// SafeSlots reports whether a value has the form <namespace>/<pod uid>.
func SafeSlots(value string) bool {
	parts := strings.Split(value, "/")
	return len(parts) == 2 && safe(parts[0]) && safe(parts[1])
}

// SafeName reports whether a value can be the name of a file.
func SafeName(name string) bool { return safe(name) }
