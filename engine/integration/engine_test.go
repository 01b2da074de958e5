//go:build integration

package integration

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	code := m.Run()
	for _, pattern := range []string{"/sys/fs/cgroup/*/reprise-engine-test", "/sys/fs/cgroup/reprise-engine-test"} {
		groups, _ := filepath.Glob(pattern)
		for _, g := range groups {
			filepath.WalkDir(g, func(string, os.DirEntry, error) error { return nil })
			children, _ := filepath.Glob(g + "/*")
			for _, child := range children {
				os.Remove(child)
			}
			os.Remove(g)
		}
	}
	os.Exit(code)
}

func (c *container) crash() {
	c.t.Helper()
	c.kill()
	c.remove()
}

func TestACrashIsRestoredThreeTimes(t *testing.T) {
	n := newNode(t)
	c := n.container()
	if s := c.run(); s["outcome"] != "blank" {
		t.Fatalf("%v", s)
	}
	for round := range 3 {
		c.waitFor(c.last().n + 20)
		id := fmt.Sprintf("k%d", round)
		dump := c.good(id)
		at := c.last().n
		c.waitFor(at + 20)
		c.crash()
		before := c.last()
		c = n.container()
		s := c.run()
		if s["outcome"] != "restored" || s["checkpoint_id"] != id || c.status() != "running" {
			t.Fatalf("%v %s", s, c.status())
		}
		time.Sleep(50 * time.Millisecond)
		ticks := c.ticks()
		back := int64(0)
		for i := 1; i < len(ticks); i++ {
			if back == 0 && ticks[i-1] == before {
				back = ticks[i].n
			}
		}
		if back <= 1 || back > at+1 {
			t.Fatalf("went on with %d; the checkpoint was at %d", back, at)
		}
		if text, _ := os.ReadFile(c.bundle + "/rootfs/var/changed"); string(text) != "by the container" {
			t.Errorf("rootfs: %q", text)
		}
		if _, err := os.Stat(c.bundle + "/rootfs/etc/unwanted"); err == nil {
			t.Error("a deleted file is back")
		}
		t.Logf("round %d: pause %.0f ms, CRIU frozen %.0f ms, restore %.0f ms of which CRIU %.0f ms", round,
			dump["pause_s"].(float64)*1e3, dump["criu"].(map[string]any)["frozen_time_us"].(float64)/1e3,
			s["took_s"].(float64)*1e3, s["criu"].(map[string]any)["restore_time_us"].(float64)/1e3)
	}
	c.crash()
	for _, left := range []string{"starts/", "restored/", "criu/", "work/"} {
		if found, _ := filepath.Glob(n.dir + "/run/" + left + c.id + "*"); len(found) > 0 {
			t.Errorf("left behind: %q", found)
		}
	}
}

func TestASlotHasTheLayoutOfACheckpointArchive(t *testing.T) {
	n := newNode(t)
	c := n.container()
	c.run()
	c.waitFor(20)
	dump := c.good("k")
	slot := c.slots() + "/k/"
	for _, member := range []string{"checkpoint/inventory.img", "checkpoint/descriptors.json", "rootfs-diff.tar", "deleted.files",
		"spec.dump", "config.dump", "stats-dump", "dump.log", "slot.json"} {
		if _, err := os.Stat(slot + member); err != nil {
			t.Error(err)
		}
	}
	deleted, _ := os.ReadFile(slot + "deleted.files")
	if string(deleted) != `["/etc/unwanted"]` {
		t.Errorf("deleted: %s", deleted)
	}
	listed, _ := exec.Command("tar", "-tf", slot+"rootfs-diff.tar").Output()
	if string(listed) != "var/\nvar/changed\n" {
		t.Errorf("diff: %q", listed)
	}
	meta := c.read(slot + "slot.json")
	if meta["checkpoint_id"] != "k" || meta["runtime"] != "containerd" || meta["criu"] == "" || meta["image"] != "counter:1" {
		t.Errorf("%v", meta)
	}
	if dump["slot"] != n.place()+"/app/k" || dump["size"].(float64) < 1000 {
		t.Errorf("%v", dump)
	}
	for _, stub := range []string{"images/reprise.json", "criu/stats-dump", "criu/dump.log"} {
		if _, err := os.Stat(c.bundle + "/" + stub); err != nil {
			t.Error(err)
		}
	}
}

// ticksOf counts the processor time that a container's processes have used.
func (c *container) used() string {
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.pid))
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	switches, _ := exec.Command("sh", "-c", fmt.Sprintf("cat /proc/%d/task/*/status | grep ctxt_switches", c.pid)).Output()
	return strings.Join(fields[11:13], " ") + string(switches)
}

func TestAFrozenRestoreRunsNoInstructionUntilItIsThawed(t *testing.T) {
	n, c := checkpointed(t)
	c.waitFor(c.last().n + 20)
	c.crash()
	before := c.last()
	n.say(map[string]any{"verdict": "restore", "slots": []string{n.place()}, "checkpoint_id": "k", "frozen": true})
	c = n.container()
	s := c.run()
	if s["outcome"] != "restored" || s["frozen"] != true || !c.frozen() {
		t.Fatalf("%v frozen %v", s, c.frozen())
	}
	used := c.used()
	time.Sleep(300 * time.Millisecond)
	if c.used() != used || c.last() != before {
		t.Errorf("it ran: %q, then %q; ticks %v, then %v", used, c.used(), before, c.last())
	}
	thawed := time.Now()
	c.thaw()
	for c.last() == before && time.Since(thawed) < 5*time.Second {
		time.Sleep(time.Millisecond)
	}
	for i, k := range c.ticks() {
		if k == before {
			if next := c.ticks()[i+1]; next.n <= 1 || next.n > before.n || next.at < thawed.UnixNano() {
				t.Errorf("the first tick after %v is %v; thawed at %d", before, next, thawed.UnixNano())
			}
		}
	}
	c.waitFor(before.n + 20)
}

func TestAHeldCheckpointLeavesTheProcessFrozenWithoutAGap(t *testing.T) {
	n := newNode(t)
	c := n.container()
	c.run()
	c.waitFor(20)
	dump, err := c.checkpoint("k", true)
	if err != nil || dump["held"] != true || !c.frozen() {
		t.Fatalf("%v %v, frozen %v", dump, err, c.frozen())
	}
	at := c.last()
	time.Sleep(300 * time.Millisecond)
	if c.last() != at {
		t.Fatalf("it ran on: %v, then %v", at, c.last())
	}
	if status := c.status(); status != "running" { // CRI-O keeps "paused" for good, and checkpoints it no more
		t.Errorf("it is told as %s", status)
	}
	// The memory in the checkpoint is that of the process that stands still: a restore goes on with the next tick.
	os.Symlink("k", c.slots()+"/live")
	c.crash()
	c = n.container()
	c.run()
	for range 1000 {
		if c.last() != at {
			break
		}
		time.Sleep(time.Millisecond)
	}
	for i, k := range c.ticks() {
		if k == at {
			if next := c.ticks()[i+1]; next.n != at.n+1 && next.n != at.n {
				t.Errorf("%v, then %v", at, next)
			}
		}
	}
}

func TestAHeldProcessGoesOnWhenItIsThawed(t *testing.T) {
	n := newNode(t)
	c := n.container()
	c.run()
	c.waitFor(20)
	if dump, err := c.checkpoint("k", true); err != nil {
		t.Fatal(dump, err)
	}
	at := c.last().n
	c.thaw()
	c.waitFor(at + 20)
}

// damage cuts files of a checkpoint short: CRIU refuses a core image, and loops for ever over a pages file.
func (n *node) damage(id, name string) {
	n.t.Helper()
	found, _ := filepath.Glob(n.slots() + "/" + id + "/checkpoint/" + name + "-*.img")
	if len(found) == 0 {
		n.t.Fatal("nothing to damage")
	}
	for _, path := range found {
		os.Truncate(path, 20)
	}
}

func TestABadCheckpointFallsBackToThePreviousOneAndThenStartsCold(t *testing.T) {
	n := newNode(t)
	c := n.container()
	c.run()
	c.waitFor(20)
	c.good("k1")
	c.waitFor(c.last().n + 20)
	c.good("k2")
	n.damage("k2", "pages")
	c.crash()
	c = n.container()
	began := time.Now()
	s := c.run()
	attempts := s["attempts"].([]any)
	if s["outcome"] != "restored" || s["checkpoint_id"] != "k1" || len(attempts) != 1 {
		t.Fatalf("%v", s)
	}
	t.Logf("previous after %v: %v", time.Since(began), attempts)
	c.crash()

	n.damage("k1", "core")
	c = n.container()
	began = time.Now()
	s = c.run()
	took := time.Since(began)
	if s["outcome"] != "cold" || len(s["attempts"].([]any)) != 2 || s["reason"] == "" {
		t.Fatalf("%v", s)
	}
	t.Logf("cold after %v: %v", took, s["reason"])
	time.Sleep(50 * time.Millisecond)
	if last := c.last().n; last <= 0 || last > 500 {
		t.Errorf("a cold counter stands at %d", last)
	}
	c.crash()

	// Blank by runc alone, for comparison.
	c = n.container()
	began = time.Now()
	c.callWith("/usr/bin/runc", "create", "--bundle", c.bundle, c.id)
	c.callWith("/usr/bin/runc", "state", c.id)
	c.callWith("/usr/bin/runc", "start", c.id)
	t.Logf("runc alone: %v", time.Since(began))
}

func TestARefusedRestoreLeavesTheRootAsItWas(t *testing.T) {
	n, c := checkpointed(t)
	n.damage("k", "core")
	c.crash()
	n.say(map[string]any{"verdict": "restore", "slots": []string{n.place()}, "checkpoint_id": "k"})
	c = n.container()
	if err := c.create(); err == nil {
		t.Fatal("a pinned checkpoint that is damaged was started")
	}
	s := c.started()
	if s["outcome"] != "refused" || !strings.Contains(s["reason"].(string), "k cannot be restored") {
		t.Errorf("%v", s)
	}
	log, _ := os.ReadFile(c.bundle + "/log.json")
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	if !strings.Contains(lines[len(lines)-1], s["reason"].(string)) || !strings.Contains(c.output, s["reason"].(string)) {
		t.Errorf("log %s, output %s", log, c.output)
	}
	if _, err := os.Stat(c.bundle + "/rootfs/var/changed"); err == nil {
		t.Error("the checkpoint's file is still there")
	}
	if text, _ := os.ReadFile(c.bundle + "/rootfs/etc/unwanted"); string(text) != "of the image" {
		t.Errorf("a deleted file was not put back: %q", text)
	}
	if left, _ := filepath.Glob(c.bundle + "/rootfs/.reprise*"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	if status := c.status(); !strings.HasPrefix(status, "error") {
		t.Errorf("runc still knows it: %s", status)
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	if strings.Contains(string(mounts), "criu-root") || strings.Contains(string(mounts), c.bundle+"/rootfs/") {
		t.Errorf("mounts left:\n%s", mounts)
	}
}

func TestWhatDoesNotFitStartsCold(t *testing.T) {
	n, c := checkpointed(t)
	c.crash()
	c = n.container("1") // another command line
	if s := c.run(); s["outcome"] != "cold" || !strings.Contains(s["reason"].(string), "command line") {
		t.Errorf("%v", s)
	}
}

func TestWithoutALeaseNothingProtectedStarts(t *testing.T) {
	n := newNode(t)
	n.agent(false)
	c := n.container()
	if err := c.create(); err == nil || !strings.Contains(c.output, "lease") {
		t.Errorf("%v %s", err, c.output)
	}
	n.write(n.dir+"/run/pods/"+n.uid+".json", map[string]any{"version": 1, "containers": map[string]any{}})
	if err := c.create(); err != nil {
		t.Errorf("unprotected: %v %s", err, c.output)
	}
}

// Uninstalled: the runtime calls runc again, and nothing of ours is on the node: no agent, no lease, no slot.
func TestAfterAnUninstallWhatWasRestoredIsRuncsAndStartsBlank(t *testing.T) {
	n, c := checkpointed(t)
	c.crash()
	c = n.container()
	if s := c.run(); s["outcome"] != "restored" {
		t.Fatalf("%v", s)
	}
	c.waitFor(c.last().n + 20)
	for _, ours := range []string{"/run", "/state"} {
		if err := os.RemoveAll(n.dir + ours); err != nil {
			t.Fatal(err)
		}
	}
	runc := func(args ...string) string {
		t.Helper()
		out, err := c.callWith("/usr/bin/runc", args...)
		if err != nil {
			t.Fatalf("runc %q: %v %s", args, err, out)
		}
		return out
	}
	runc("kill", c.id, "KILL")
	for range 500 {
		if strings.Contains(runc("state", c.id), `"stopped"`) {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	runc("delete", c.id)
	before := len(c.ticks())
	c = n.container()
	runc("create", "--bundle", c.bundle, "--pid-file", c.bundle+"/pid", c.id)
	runc("start", c.id)
	for len(c.ticks()) == before {
		time.Sleep(2 * time.Millisecond)
	}
	if first := c.ticks()[before].n; first > 1 {
		t.Errorf("went on with %d", first)
	}
	if left, _ := filepath.Glob(n.dir + "/run/*"); len(left) > 0 {
		t.Errorf("somebody of ours was there: %q", left)
	}
}

// Unprotected, and the engine is still there: the same, although its checkpoint is.
func TestWhatIsNotProtectedAnyMoreStartsBlankAtOnceWhateverItsAgentDoes(t *testing.T) {
	n, c := checkpointed(t)
	for _, agent := range []string{"alive, no lease", "gone"} {
		c.crash()
		n.write(n.dir+"/run/pods/"+n.uid+".json", map[string]any{"version": 1, "uid": n.uid, "containers": map[string]any{}})
		n.agent(false)
		if agent == "gone" {
			os.Remove(n.dir + "/run/node.json")
		}
		before := len(c.ticks())
		c = n.container()
		began := time.Now()
		if err := c.create(); err != nil {
			t.Fatalf("%s: %v %s", agent, err, c.output)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("%s: it took %v", agent, took)
		}
		if out, err := c.call("start", c.id); err != nil {
			t.Fatalf("%s: %v %s", agent, err, out)
		}
		for len(c.ticks()) == before {
			time.Sleep(2 * time.Millisecond)
		}
		if first := c.ticks()[before].n; first > 1 {
			t.Errorf("%s: went on with %d", agent, first)
		}
	}
}

func TestAFailedCheckpointLeavesItRunning(t *testing.T) {
	n := newNode(t)
	c := n.container()
	c.run()
	c.waitFor(20)
	n.write(work+"/engine.json", map[string]any{"run_dir": n.dir + "/run", "state_dir": n.dir + "/state",
		"criu": map[string]any{"config": []string{"no-such-option"}}})
	dump, err := c.checkpoint("k", true)
	if err == nil || dump["outcome"] != "failed" || dump["error"] == "" || dump["held"] != false {
		t.Errorf("%v %v", dump, err)
	}
	if left, _ := filepath.Glob(c.slots() + "/k*"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	c.waitFor(c.last().n + 20)
}

func TestAContainerThatEndsBeforeItsStartIsNotReportedAsCreated(t *testing.T) {
	n, c := checkpointed(t)
	c.crash()
	c = n.container()
	if err := c.create(); err != nil {
		t.Fatal(err, c.output)
	}
	c.kill()
	if out, err := c.call("start", c.id); err == nil || c.status() != "stopped" {
		t.Errorf("start: %v %s, status %s", err, out, c.status())
	}
}

func TestARestoreThatHangsIsEndedAndStartsCold(t *testing.T) {
	if testing.Short() {
		t.Skip("takes the 20 s that a restore may take")
	}
	n, c := checkpointed(t)
	c.crash()
	os.WriteFile(work+"/hang.sh", []byte("#!/bin/sh\n[ \"$CRTOOLS_SCRIPT_ACTION\" != post-restore ] || sleep 1000\n"), 0o755)
	n.write(work+"/engine.json", map[string]any{"run_dir": n.dir + "/run", "state_dir": n.dir + "/state",
		"criu": map[string]any{"config": []string{"action-script " + work + "/hang.sh"}}})
	c = n.container()
	if s := c.run(); s["outcome"] != "cold" || !strings.Contains(s["reason"].(string), "longer than") {
		t.Fatalf("%v", s)
	}
	c.waitFor(20)
	for _, name := range []string{"sleep", "criu"} {
		if out, err := exec.Command("pgrep", "-x", name).Output(); err == nil {
			t.Errorf("%s still runs: %s", name, out)
		}
	}
	c.reachable()
}

func TestAFileOnAVolumeThatHasGrownCostsNoMoreThanARestart(t *testing.T) {
	n := newNode(t)
	c := n.container("0", "/data/state")
	c.run()
	c.waitFor(20)
	c.good("k")
	c.crash()
	os.WriteFile(c.data+"/state", make([]byte, 5000), 0o644)
	c = n.container("0", "/data/state")
	began := time.Now()
	s := c.run()
	if s["outcome"] != "cold" || !strings.Contains(s["reason"].(string), "bad size") {
		t.Fatalf("%v", s)
	}
	t.Logf("cold after %v: %v", time.Since(began), s["reason"])
	c.waitFor(20)
	c.reachable()
}

// reachable fails if the pod's network lets no connection through: CRIU can lock it for a restore.
func (n *node) reachable() {
	n.t.Helper()
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with this goroutine, and with it the namespace it entered
		failed <- func() error {
			namespace, err := os.Open(n.network())
			if err != nil {
				return err
			}
			defer namespace.Close()
			if _, _, e := syscall.Syscall(sysSetns, namespace.Fd(), syscall.CLONE_NEWNET, 0); e != 0 {
				return e
			}
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			defer listener.Close()
			connection, err := net.DialTimeout("tcp", listener.Addr().String(), time.Second)
			if err == nil {
				connection.Close()
			}
			return err
		}()
	}()
	if err := <-failed; err != nil {
		n.t.Errorf("the pod's network: %v", err)
	}
}

// slowDump begins a dump that goes no further than to a script of CRIU's, and waits until the container stands still.
func (c *container) slowDump(at string) *exec.Cmd {
	c.t.Helper()
	os.WriteFile(work+"/slow.sh", []byte("#!/bin/sh\n[ \"$CRTOOLS_SCRIPT_ACTION\" != "+at+" ] || sleep 1000\n"), 0o755)
	c.write(work+"/engine.json", map[string]any{"run_dir": c.dir + "/run", "state_dir": c.dir + "/state",
		"criu": map[string]any{"config": []string{"action-script " + work + "/slow.sh"}}})
	c.write(c.dir+"/run/requests/"+c.id+".json", map[string]any{
		"version": 1, "checkpoint_id": "k", "slots": c.place(), "hold": true, "expires_at_s": boottime() + 60,
	})
	cmd := exec.Command(engine, "checkpoint", "--image-path", c.bundle+"/images", "--leave-running", c.id)
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	time.Sleep(time.Second)
	before := c.last()
	time.Sleep(100 * time.Millisecond)
	if c.last() != before {
		c.t.Fatal("the dump does not stand still")
	}
	return cmd
}

// lockable reports whether the mark that the engine has the container frozen is there, and nobody lives who holds it.
func (c *container) lockable() (there, free bool) {
	mark, err := os.Open(c.dir + "/run/freezing/" + c.id)
	if err != nil {
		return false, false
	}
	defer mark.Close()
	return true, syscall.Flock(int(mark.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}

func TestThatAnEngineWasKilledDuringTheDumpIsKnownByItsMark(t *testing.T) {
	n := newNode(t)
	c := n.container()
	c.run()
	c.waitFor(20)
	cmd := c.slowDump("pre-dump")
	if there, free := c.lockable(); !there || free {
		t.Errorf("while it lives: there %v, free %v", there, free)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if there, free := c.lockable(); !there || !free || !c.frozen() {
		t.Errorf("killed: there %v, free %v, frozen %v", there, free, c.frozen())
	}
	time.Sleep(100 * time.Millisecond) // CRIU dies with it
	at := c.last()
	c.thaw() // as the agent does
	c.waitFor(at.n + 20)
	if c.frozen() {
		t.Error("frozen again")
	}
}

func TestATermSignalDuringTheDumpLeavesItRunning(t *testing.T) {
	n := newNode(t)
	c := n.container()
	c.run()
	c.waitFor(20)
	cmd := c.slowDump("post-dump")
	at := c.last()
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err == nil {
		t.Error("it succeeded")
	}
	dump := n.read(n.dir + "/run/dumps/" + c.id + ".json")
	if dump["outcome"] != "failed" || !strings.Contains(dump["error"].(string), "signal") || c.frozen() {
		t.Errorf("%v, frozen %v", dump, c.frozen())
	}
	c.waitFor(at.n + 20)
}
