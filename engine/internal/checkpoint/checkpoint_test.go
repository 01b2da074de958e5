package checkpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"reprise.dev/engine/internal/cli"
	"reprise.dev/engine/internal/nodefiles"
	"reprise.dev/engine/internal/report"
)

// failing is a container of this very process, frozen (in a group of plain files), whose root file system is no overlay:
// its checkpoint fails before CRIU is asked.
func failing(t *testing.T) (c *Checkpoint, frozen func() bool) {
	t.Helper()
	dir := t.TempDir()
	stat, _ := os.ReadFile("/proc/self/stat")
	start := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))[19]
	for path, content := range map[string]string{
		"group/cgroup.freeze": "1", "group/cgroup.events": "frozen 1\n", "group/cgroup.procs": "",
		"bundle/config.json": `{"root": {"path": "rootfs"}, "annotations": {"io.kubernetes.cri.container-type": "container",
			"io.kubernetes.cri.container-name": "app"}}`,
		"runc/c1/state.json": fmt.Sprintf(`{"id": "c1", "init_process_pid": %d, "init_process_start": %s,
			"cgroup_paths": {"": "%s/group"}, "config": {"labels": ["bundle=%s/bundle"]}}`, os.Getpid(), start, dir, dir),
	} {
		os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o700)
		os.WriteFile(filepath.Join(dir, path), []byte(content), 0o600)
	}
	store, _ := nodefiles.Open(dir + "/none")
	store.RunDir, store.StateDir = dir+"/run", dir+"/state"
	c = &Checkpoint{
		Store: store, Call: cli.Parse([]string{"--root", dir + "/runc", "checkpoint", "--leave-running", "c1"}),
		Request: nodefiles.Request{CheckpointID: "k", Slots: "shop/u1"}, Log: report.Log{Path: dir + "/log"},
	}
	return c, func() bool {
		raw, _ := os.ReadFile(dir + "/group/cgroup.freeze")
		return strings.TrimSpace(string(raw)) == "1"
	}
}

func TestOnlyWhatAnEngineLeftFrozenIsThawed(t *testing.T) {
	for mark, left := range map[string]bool{"none": false, "of a dead engine": true, "of an engine that lives": false} {
		c, frozen := failing(t)
		switch mark {
		case "none": // an agent froze it
		case "of an engine that lives":
			engine, _ := c.Store.MarkFreezing("c1")
			defer engine.Close()
		case "of a dead engine":
			nodefiles.WriteRaw(c.Store.Path("freezing", "c1"), nil)
		}
		if c.Run() != 1 || c.group.Path == "" {
			t.Fatal("has to fail, and after it found the group")
		}
		if frozen() == left {
			t.Errorf("%q: frozen %v", mark, frozen())
		}
		if _, err := os.Stat(c.Store.Path("freezing", "c1")); left && err == nil {
			t.Error("the mark outlives the thaw")
		}
	}
}

// The shim is locked for as long as the runtime's archive waits for a move.
func TestTheArchiveWaitsForAMoveOnlyWhileItsProcessStandsStill(t *testing.T) {
	for end, happens := range map[string]func(c *Checkpoint){
		"it runs again": func(c *Checkpoint) { c.group.Thaw() },
		"it is given up": func(c *Checkpoint) {
			nodefiles.WriteRaw(c.Store.Path("pods", "u1.json"), []byte(`{"version": 1, "containers": {"app": {"verdict": "refuse"}}}`))
		},
		"its time is over": func(c *Checkpoint) {},
	} {
		c, frozen := failing(t)
		c.look() // finds the group
		c.who.PodUID, c.who.Container = "u1", "app"
		took := make(chan time.Duration)
		go func(began time.Time) { c.letMove(); took <- time.Since(began) }(time.Now())
		select {
		case <-took:
			t.Fatalf("%s: has not waited", end)
		case <-time.After(100 * time.Millisecond):
		}
		happens(c)
		if waited := <-took; (waited >= moveFirst) != (end == "its time is over") {
			t.Errorf("%s: waited %v", end, waited)
		}
		if left := end != "it runs again"; frozen() != left {
			t.Errorf("%s: frozen %v", end, frozen())
		}
	}
}
