// Package checkpoint performs a requested `checkpoint`: into a slot on the node, in the shortest pause there is.
//
// The container stands still from right before CRIU stops its processes until CRIU has released them and the
// root file system's changes are captured. Whatever else has to be done is done before or after.
package checkpoint

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"reprise.dev/engine/internal/bundle"
	"reprise.dev/engine/internal/cli"
	"reprise.dev/engine/internal/criu"
	"reprise.dev/engine/internal/freezer"
	"reprise.dev/engine/internal/nodefiles"
	"reprise.dev/engine/internal/report"
	"reprise.dev/engine/internal/rootfs"
	"reprise.dev/engine/internal/runc"
	"reprise.dev/engine/internal/tmpfs"
)

// A dump that hangs is ended: its process stands still meanwhile.
const (
	dumpTimeout       = 20 * time.Second
	dumpTimeoutPerGiB = 8 * time.Second
	dumpTimeoutMost   = 100 * time.Second // the kubelet waits two minutes
	freezeTimeout     = 10 * time.Second
)

// moveFirst is how long the runtime's archive waits for a move. containerd compares the whole root file system for it (fs.Changes
// in continuity): 0.7 s of a core, wanted by the move whose process stands still meanwhile.
const moveFirst = 3 * time.Second

// Checkpoint is one call of checkpoint with a request.
type Checkpoint struct {
	Store   nodefiles.Store
	Call    cli.Call
	Request nodefiles.Request
	Log     report.Log
	Version string // of the engine

	state   runc.State
	bundle  string
	spec    bundle.Spec
	who     bundle.Identity
	group   freezer.Group
	overlay rootfs.Overlay
	name    string // <namespace>/<pod uid>/<container>/<checkpoint id>
	partial string

	wasFrozen bool     // somebody else froze it before us, and thaws it
	frozen    bool     // by us, and not thawed yet
	mark      *os.File // that says so while we live
	stopped   []int
	from, to  time.Time // the pause
	changes   rootfs.Changes
}

// Ours reports whether a call is of the kind that the kubelet makes. Others are runc's.
func Ours(call cli.Call) bool {
	for _, option := range []string{"pre-dump", "lazy-pages", "help", "h", "auto-dedup"} {
		if call.Switch(option) {
			return false
		}
	}
	return call.ID() != "" && call.Switch("leave-running") && call.Option("page-server", "parent-path") == ""
}

// Run performs it and returns the exit code.
func (c *Checkpoint) Run() int {
	began := time.Now()
	err := c.take()
	dump := nodefiles.Dump{
		CheckpointID: c.Request.CheckpointID, ContainerID: c.Call.ID(), Outcome: "ok", Slot: c.name,
		PauseS: c.to.Sub(c.from).Seconds(), Held: c.Request.Hold,
	}
	if err == nil {
		dump.Size, dump.Criu, err = c.finish()
	}
	if err != nil {
		dump.Outcome, dump.Held, dump.Error, dump.Slot = "failed", false, err.Error(), ""
		c.thaw() // also when it was to be held: a failed checkpoint holds nothing
		c.leaveLogs()
		if c.partial != "" {
			os.RemoveAll(c.partial)
		}
	}
	if dump.Held {
		c.Store.UnmarkFreezing(c.Call.ID()) // from here on it is the agent who thaws
	}
	if e := c.Store.PutDump(dump); e != nil {
		c.Log.Write("warning", report.Fields{"container_id": c.Call.ID(), "message": e.Error()})
	}
	c.Log.Write("checkpoint", report.Fields{
		"container_id": c.Call.ID(), "checkpoint_id": dump.CheckpointID, "outcome": dump.Outcome, "error": dump.Error,
		"pause_s": dump.PauseS, "held": dump.Held, "size": dump.Size, "took_s": time.Since(began).Seconds(),
	})
	if err != nil {
		report.Failure(c.Call.Global("log"), c.Call.Global("log-format"), "checkpoint failed: "+err.Error())
		return 1
	}
	if dump.Held {
		c.letMove()
	}
	return 0
}

// letMove returns when the process is given up or runs again, or the move has had its time. The runtime's shim is locked until
// then, so that whoever ends the container must not have to wait for us.
func (c *Checkpoint) letMove() {
	for end := time.Now().Add(moveFirst); time.Now().Before(end) && c.group.Asked(); time.Sleep(20 * time.Millisecond) {
		if pod := c.Store.Pod(c.who.PodUID); pod != nil && pod.Containers[c.who.Container].Verdict == "refuse" {
			return
		}
	}
}

// take does everything up to the end of the pause.
func (c *Checkpoint) take() error {
	if err := c.look(); err != nil {
		return err
	}
	if err := c.makeFolder(); err != nil {
		return err
	}
	dump, err := c.dump()
	if err != nil {
		return err
	}
	return c.perform(dump)
}

// look finds out what is to be dumped.
func (c *Checkpoint) look() error {
	root := c.Call.Global("root")
	var err error
	if c.state, err = runc.ReadState(root, c.Call.ID()); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(runc.StatePath(root, c.Call.ID()), "exec.fifo")); err == nil || c.Store.IsMarked(c.Call.ID()) {
		return fmt.Errorf("the container has not been started yet")
	}
	if !c.state.Alive() {
		return fmt.Errorf("the container does not run")
	}
	c.bundle = c.state.Bundle()
	if c.spec, _, err = bundle.Read(filepath.Join(c.bundle, "config.json")); err != nil {
		return err
	}
	c.who = c.spec.Identity()
	if !c.who.Workload || !nodefiles.SafeName(c.who.Container) {
		return fmt.Errorf("%s is not a container of a pod", c.Call.ID())
	}
	if c.group, err = c.state.Group(); err != nil {
		return err
	}
	if c.wasFrozen = c.group.Asked(); c.wasFrozen && c.Store.LeftFrozen(c.Call.ID()) {
		c.wasFrozen = false // an engine that was killed left it so: ours to thaw, whatever fails from here on
		c.from, c.frozen = time.Now(), true
	}
	c.overlay, err = rootfs.Find(c.spec.RootPath(c.bundle))
	return err
}

func (c *Checkpoint) makeFolder() error {
	c.name = filepath.Join(c.Request.Slots, c.who.Container, c.Request.CheckpointID)
	if _, err := os.Lstat(c.final()); err == nil {
		return fmt.Errorf("checkpoint %s exists already", c.Request.CheckpointID)
	}
	partial := c.final() + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return err
	}
	c.partial = partial
	return os.MkdirAll(filepath.Join(partial, "checkpoint"), 0o700)
}

func (c *Checkpoint) final() string { return filepath.Join(c.Store.Slots(), c.name) }

// dump prepares the request, with what the runtime asked for.
func (c *Checkpoint) dump() (criu.Dump, error) {
	config := c.Store.CriuConfigPath(c.Call.ID()) + ".dump"
	if err := criu.WriteConfig(config, c.Store.Criu.Config...); err != nil {
		return criu.Dump{}, err
	}
	external, err := c.state.ExternalNamespaces()
	if err != nil {
		return criu.Dump{}, err
	}
	return criu.Dump{
		Images: filepath.Join(c.partial, "checkpoint"), Work: c.partial, Config: config,
		Root: c.state.Config.Rootfs, Pid: c.state.Pid, FreezeCgroup: c.group.Path,
		External: external, Mounts: c.state.ExternalMounts(runc.Unified()), LeaveRunning: true,
		ExtUnix:  c.Call.Switch("ext-unix-sk"),
		ShellJob: c.Call.Switch("shell-job"), FileLocks: c.Call.Switch("file-locks"), LinkRemap: c.Call.Switch("link-remap"),
	}, writeDescriptors(c.partial, c.state.ExternalDescriptors)
}

// perform is the pause: freeze, dump and capture, thaw.
func (c *Checkpoint) perform(dump criu.Dump) error {
	path, err := exec.LookPath("criu")
	if err != nil {
		return err
	}
	environment, err := tmpfs.Arrange(c.Store.Path("bin"))
	if err != nil {
		return err
	}
	defer os.Remove(dump.Config)
	prepared, err := criu.Start(path, environment)
	if err != nil {
		return err
	}
	captured := make(chan error, 1)
	capturing := false
	dump.BeforeFreeze = func() error {
		if err := c.freeze(); err != nil {
			return err
		}
		capturing = true
		go func() { captured <- c.capture() }()
		return nil
	}
	ended := make(chan string, 1)
	done := make(chan struct{})
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	go watch(prepared, c.timeout(), signals, ended, done)
	err = prepared.Run(dump)
	if capturing {
		if e := <-captured; err == nil {
			err = e
		}
	}
	if err != nil || !c.Request.Hold {
		c.thaw()
	} else if err = c.group.Freeze(freezeTimeout); err == nil { // CRIU has left it frozen; be sure
		c.to = time.Now()
	}
	close(done)
	if e := prepared.Close(); err == nil && e != nil {
		err = fmt.Errorf("criu: %w", e)
	}
	if err == nil {
		return nil
	}
	select {
	case why := <-ended:
		return fmt.Errorf("%s", why)
	default:
	}
	if cause := criu.Errors(filepath.Join(c.partial, "dump.log")); cause != "" {
		return fmt.Errorf("%s", cause)
	}
	return err
}

// watch ends CRIU when it hangs or when we are asked to end: the pause must have an end.
func watch(prepared *criu.Prepared, timeout time.Duration, signals <-chan os.Signal, ended chan<- string, done <-chan struct{}) {
	select {
	case <-done:
		return
	case s := <-signals:
		ended <- fmt.Sprintf("ended by a signal: %v", s)
	case <-time.After(timeout):
		ended <- fmt.Sprintf("the dump took longer than %v", timeout)
	}
	prepared.Kill()
}

func (c *Checkpoint) freeze() error {
	processes, err := c.group.Processes()
	if err != nil {
		return err
	}
	c.stopped = []int{}
	for _, p := range processes {
		if p.Stopped {
			c.stopped = append(c.stopped, p.Inside)
		}
	}
	if !c.wasFrozen {
		if c.mark, err = c.Store.MarkFreezing(c.Call.ID()); err != nil {
			return err
		}
	}
	c.from, c.frozen = time.Now(), true
	return c.group.Freeze(freezeTimeout)
}

// thaw ends the pause, unless somebody else froze the container before.
func (c *Checkpoint) thaw() {
	if !c.frozen {
		return
	}
	if !c.wasFrozen {
		c.group.Thaw()
		c.Store.UnmarkFreezing(c.Call.ID())
	}
	c.frozen, c.to = false, time.Now()
}

func (c *Checkpoint) capture() error {
	var mounts []string
	for _, m := range c.spec.Mounts {
		mounts = append(mounts, runc.Inside(c.overlay.Merged, m.Destination))
	}
	changes, err := rootfs.Capture(c.overlay, mounts, filepath.Join(c.partial, rootfs.DiffTar))
	c.changes = changes
	if err != nil {
		return fmt.Errorf("capturing the root file system's changes: %w", err)
	}
	return nil
}

func (c *Checkpoint) timeout() time.Duration {
	pages := int64(0)
	if processes, err := c.group.Processes(); err == nil {
		for _, p := range processes {
			raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.Pid))
			if fields := strings.Fields(string(raw)); len(fields) > 1 {
				n, _ := strconv.ParseInt(fields[1], 10, 64)
				pages += n
			}
		}
	}
	gib := float64(pages) * float64(os.Getpagesize()) / (1 << 30)
	// Pages that processes share are counted more than once: hence also the most.
	return min(dumpTimeout+time.Duration(gib*float64(dumpTimeoutPerGiB)), dumpTimeoutMost)
}
