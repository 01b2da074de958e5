package create

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"reprise.dev/engine/internal/bundle"
	"reprise.dev/engine/internal/cli"
	"reprise.dev/engine/internal/decide"
	"reprise.dev/engine/internal/nodefiles"
	"reprise.dev/engine/internal/report"
)

const config = `{"root": {"path": "rootfs"}, "annotations": {"io.kubernetes.cri.container-type": "container",
	"io.kubernetes.cri.sandbox-uid": "u1", "io.kubernetes.cri.sandbox-namespace": "shop",
	"io.kubernetes.cri.sandbox-name": "cart-0", "io.kubernetes.cri.container-name": "app"}}`

// fakeRunc knows a container from restore to delete, in a group of plain files that is frozen whenever that is asked. What happens
// during the restore is in the file "meanwhile".
const fakeRunc = `#!/bin/sh
echo "$@" >> %[1]s/calls
case " $* " in
*" restore "*) . %[1]s/meanwhile; mkdir -p %[1]s/runc/c1 %[1]s/group && echo '{"cgroup_paths": {"": "%[1]s/group"}}' > %[1]s/runc/c1/state.json
  cp "$(sed -n 's/.*"org.criu.config": *"\([^"]*\)".*/\1/p' %[1]s/bundle/config.json)" %[1]s/criu.conf
  touch %[1]s/group/cgroup.freeze %[1]s/group/cgroup.procs; echo frozen 1 > %[1]s/group/cgroup.events ;;
*" delete --force c1 "*) rm -r %[1]s/runc/c1 ;;
esac
`

type node struct {
	t     *testing.T
	dir   string
	store nodefiles.Store
}

// newNode has a pod with the checkpoints k2 (live) and k1 (previous), and an agent that is alive and holds its lease.
func newNode(t *testing.T) *node {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("checkpoints have to be root's")
	}
	n := &node{t: t, dir: t.TempDir()}
	n.store, _ = nodefiles.Open(n.dir + "/none")
	n.store.Runc, n.store.RunDir, n.store.StateDir = n.dir+"/fake-runc", n.dir+"/run", n.dir+"/state"
	os.WriteFile(n.store.Runc, fmt.Appendf(nil, fakeRunc, n.dir), 0o700)
	slots := n.store.Slots() + "/shop/u1/app"
	for _, id := range []string{"k1", "k2"} {
		os.MkdirAll(filepath.Join(slots, id, "checkpoint"), 0o700)
		os.WriteFile(filepath.Join(slots, id, "slot.json"), fmt.Appendf(nil, `{"version": 1, "checkpoint_id": %q}`, id), 0o600)
		os.WriteFile(filepath.Join(slots, id, "spec.dump"), []byte(config), 0o600)
	}
	os.Symlink("k2", slots+"/live")
	os.Symlink("k1", slots+"/previous")
	os.MkdirAll(n.dir+"/bundle/rootfs", 0o755)
	os.WriteFile(n.dir+"/bundle/config.json", []byte(config), 0o600)
	n.agent(0)
	n.says(`{"verdict": "restore", "slots": ["shop/u1"]}`)
	n.meanwhile("")
	return n
}

func (n *node) agent(renewed float64) {
	now := nodefiles.Boottime()
	at := now - renewed
	nodefiles.Write(n.store.Path("node.json"), nodefiles.Node{
		Version: 1, BootID: nodefiles.BootID(), TTLS: 10, RenewedAtS: &at, HeartbeatAtS: now,
	})
}

func (n *node) dies() {
	nodefiles.Write(n.store.Path("node.json"), nodefiles.Node{Version: 1, BootID: nodefiles.BootID()})
}

func (n *node) says(app string) {
	nodefiles.WriteRaw(n.store.Path("pods", "u1.json"), []byte(n.pod(app)))
}

func (n *node) pod(app string) string { return `{"version": 1, "containers": {"app": ` + app + `}}` }

func (n *node) meanwhile(script string) { os.WriteFile(n.dir+"/meanwhile", []byte(script+"\n"), 0o600) }

// create performs the call.
func (n *node) create() (Outcome, nodefiles.Start) {
	n.t.Helper()
	call := cli.Parse([]string{"--root", n.dir + "/runc", "create", "--bundle", n.dir + "/bundle", "c1"})
	c := &Creation{Store: n.store, Call: call, Log: report.Log{Path: n.dir + "/log"}}
	outcome := c.Run()
	var start nodefiles.Start
	raw, _ := os.ReadFile(n.store.Path("starts", "c1.json"))
	json.Unmarshal(raw, &start)
	return outcome, start
}

func (n *node) calls(word string) int {
	raw, _ := os.ReadFile(n.dir + "/calls")
	return strings.Count(string(raw), " "+word+" ")
}

func (n *node) file(name string) string {
	raw, _ := os.ReadFile(n.dir + "/" + name)
	return strings.TrimSpace(string(raw))
}

func (n *node) lives() bool { _, err := os.Stat(n.dir + "/runc/c1"); return err == nil }

const ahead = `{"verdict": "restore", "slots": ["shop/u1"], "checkpoint_id": "k2", "frozen": true, "ahead": %t}`

func TestWhatIsRestoredAheadOfAFailoverIsNotCreatedBeforeOneNeedsIt(t *testing.T) {
	n := newNode(t)
	n.says(fmt.Sprintf(ahead, true))
	var decided time.Time
	go func() {
		time.Sleep(300 * time.Millisecond)
		if n.file("group/cgroup.freeze") != "1" || n.lives() == false {
			t.Error("it is not restored meanwhile, or runs")
		}
		decided = time.Now()
		n.says(fmt.Sprintf(ahead, false))
	}()
	outcome, start := n.create()
	if outcome != Done || start.Outcome != "restored" || start.CheckpointID != "k2" || !start.Frozen || !n.lives() {
		t.Errorf("%v %+v", outcome, start)
	}
	if decided.IsZero() || n.file("group/cgroup.freeze") != "1" {
		t.Error("it is created before its failover needs it, or runs")
	}
	if start.TookS > 0.29 {
		t.Errorf("its waiting is counted as the restore's time: %v s", start.TookS)
	}
}

func TestWhatWasRestoredAheadIsEndedIfItsPodGoesOrSomethingElseIsMeant(t *testing.T) {
	for name, said := range map[string]string{
		"its pod goes":        `{"verdict": "refuse", "reason": "its pod is being deleted"}`,
		"another checkpoint":  `{"verdict": "restore", "slots": ["shop/u1"], "checkpoint_id": "k1", "frozen": true}`,
		"it is to start cold": `{"verdict": "blank", "reason": "told so"}`,
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.says(fmt.Sprintf(ahead, true))
			n.meanwhile("cat > " + n.store.Path("pods", "u1.json") + " <<'E'\n" + n.pod(said) + "\nE")
			outcome, start := n.create()
			if outcome != Failed || start.Outcome != "refused" || n.lives() || n.store.IsMarked("c1") {
				t.Errorf("%v %+v lives: %v", outcome, start, n.lives())
			}
			if n.calls("restore") != 1 {
				t.Error("another checkpoint is tried")
			}
		})
	}
}

func TestWhatWasRestoredAheadWaitsWhileTheLeaseIsLost(t *testing.T) {
	n := newNode(t)
	n.says(fmt.Sprintf(ahead, true))
	n.meanwhile("cat > " + n.store.Path("pods", "u1.json") + " <<'E'\n" + n.pod(`{"verdict": "wait", "reason": "no lease"}`) + "\nE")
	go func() {
		time.Sleep(200 * time.Millisecond)
		n.says(fmt.Sprintf(ahead, false))
	}()
	if outcome, start := n.create(); outcome != Done || start.Outcome != "restored" {
		t.Errorf("%v %+v", outcome, start)
	}
}

func TestWhatIsStillMeantAfterItsRestoreRuns(t *testing.T) {
	n := newNode(t)
	outcome, start := n.create()
	if outcome != Done || start.Outcome != "restored" || start.CheckpointID != "k2" || !n.lives() || !n.store.IsMarked("c1") {
		t.Errorf("%v %+v", outcome, start)
	}
	if n.file("group/cgroup.freeze") != "0" {
		t.Error("it does not run")
	}
}

// CRIU leaves it stopped, and it is ended without having been thawed.
func TestWhatIsNotMeantAnyMoreAfterItsRestoreHasNotRun(t *testing.T) {
	for name, c := range map[string]struct{ says, reason string }{
		"refused":           {`{"verdict": "refuse", "reason": "restored on n2"}`, "restored on n2"},
		"open again":        {`{"verdict": "wait", "reason": "asking the store"}`, "asking the store"},
		"blank":             {`{"verdict": "blank", "reason": "a rollout"}`, "a rollout"},
		"to be frozen":      {`{"verdict": "restore", "slots": ["shop/u1"], "frozen": true}`, "frozen"},
		"another is pinned": {`{"verdict": "restore", "slots": ["shop/u1"], "checkpoint_id": "k1"}`, "k1"},
		"rejected":          {`{"verdict": "restore", "slots": ["shop/u1"], "rejected": ["k2"]}`, "rejected"},
		"the lease ran out": {"", "lease"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			if c.says != "" {
				n.meanwhile(fmt.Sprintf("echo '%s' > %s", n.pod(c.says), n.store.Path("pods", "u1.json")))
			} else {
				late := newNode(t)
				late.agent(11)
				n.meanwhile(fmt.Sprintf("cp %s %s", late.store.Path("node.json"), n.store.Path("node.json")))
			}
			outcome, start := n.create()
			if outcome != Failed || start.Outcome != "refused" || !strings.Contains(start.Reason, c.reason) {
				t.Errorf("%v %+v", outcome, start)
			}
			if n.lives() || n.store.IsMarked("c1") || n.calls("restore") != 1 || n.calls("delete") != 1 {
				t.Errorf("left behind, or tried again: %d restores, %d deletes", n.calls("restore"), n.calls("delete"))
			}
			if n.file("group/cgroup.freeze") != "1" || !strings.Contains(n.file("criu.conf"), "leave-stopped") {
				t.Errorf("it has run: freeze %q, CRIU's options %q", n.file("group/cgroup.freeze"), n.file("criu.conf"))
			}
			if raw, _ := os.ReadFile(n.dir + "/bundle/config.json"); string(raw) != config {
				t.Errorf("config.json: %s", raw)
			}
		})
	}
}

// reboots: what is in run_dir is gone, and the agent has not run since.
func (n *node) reboots() { os.RemoveAll(n.store.RunDir) }

// moved: a failover made the pod from a checkpoint of u0.
func (n *node) moved() {
	made := strings.Replace(config, `"annotations": {`, `"annotations": {"reprise.dev/restore-from": "u0/k0", `, 1)
	os.WriteFile(n.dir+"/bundle/config.json", []byte(made), 0o600)
}

func (n *node) release() { nodefiles.WriteRaw(n.store.StateDir+"/released/u1", nil) }

// now is the decision of a call that has waited for as long as any does.
func (n *node) now() decide.Decision {
	call := cli.Parse([]string{"--root", n.dir + "/runc", "create", "--bundle", n.dir + "/bundle", "c1"})
	c := &Creation{Store: n.store, Call: call, began: time.Now().Add(-decide.VerdictWaitS * time.Second)}
	c.bundle = n.dir + "/bundle"
	c.spec, c.config, _ = bundle.Read(c.bundle + "/config.json")
	c.who = c.spec.Identity()
	return c.decide()
}

func TestAPodThatWasMovedOnceStartsAfterARebootAsOneThatNeverWas(t *testing.T) {
	for name, slots := range map[string]string{"with a checkpoint of its own": "/shop/u1", "with none yet": "/shop/u0"} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			os.Rename(n.store.Slots()+"/shop/u1", n.store.Slots()+"/kept")
			os.Rename(n.store.Slots()+"/kept", n.store.Slots()+slots)
			n.reboots()
			n.moved()
			if got := n.now(); got.Action != decide.Refuse || !strings.Contains(got.Reason, "failover") {
				t.Errorf("not final: %v %q", got.Action, got.Reason)
			}
			n.release()
			never := newNode(t)
			never.reboots()
			if got, want := n.now(), never.now(); got.Action != want.Action || got.Reason != want.Reason {
				t.Errorf("%v %q, not %v %q", got.Action, got.Reason, want.Action, want.Reason)
			}
			os.RemoveAll(n.store.Slots())
			if got := n.now(); got.Action != decide.Runc {
				t.Errorf("without any checkpoint on this node: %v %q", got.Action, got.Reason)
			}
		})
	}
}

func TestAPodThatWasMovedOnceIsRestoredFromWhereItCameOfToo(t *testing.T) {
	n := newNode(t)
	os.Rename(n.store.Slots()+"/shop/u1", n.store.Slots()+"/shop/u0")
	n.moved()
	n.release()
	os.Remove(n.store.Path("pods", "u1.json"))
	n.dies()
	if outcome, start := n.create(); outcome != Done || start.CheckpointID != "k2" {
		t.Errorf("%v %+v", outcome, start)
	}
}

func TestASecondCheckpointIsTriedOnlyWhileThereIsTime(t *testing.T) {
	for _, c := range []struct {
		spent    time.Duration
		restores int
	}{{0, 2}, {limit - leastForTry + time.Second, 1}, {limit + time.Second, 0}} {
		n := newNode(t)
		n.meanwhile("exit 1")
		call := cli.Parse([]string{"--root", n.dir + "/runc", "create", "--bundle", n.dir + "/bundle", "c1"})
		creation := &Creation{Store: n.store, Call: call, Log: report.Log{Path: n.dir + "/log"}, began: time.Now().Add(-c.spent)}
		if outcome := creation.Run(); outcome != Runc || n.calls("restore") != c.restores {
			t.Errorf("after %v: %v, %d restores", c.spent, outcome, n.calls("restore"))
		}
	}
}

func TestWhatMayNotStartColdFailsOnceNoCheckpointComesBack(t *testing.T) {
	n := newNode(t)
	n.says(`{"verdict": "restore", "slots": ["shop/u1"], "never_cold": true}`)
	n.meanwhile("exit 1")
	outcome, start := n.create()
	if outcome != Failed || start.Outcome != "refused" || len(start.Attempts) != 2 || n.calls("restore") != 2 {
		t.Errorf("%v %+v", outcome, start)
	}
	n.meanwhile("")
	if outcome, start = n.create(); outcome != Done || start.Outcome != "restored" {
		t.Errorf("%v %+v", outcome, start)
	}
}

func TestAFileThatHasGrownSinceTheNewestCheckpointHasGrownSinceTheOneBeforeToo(t *testing.T) {
	n := newNode(t)
	n.meanwhile(fmt.Sprintf("echo '(00.1) Error (criu/files-reg.c:1): File data/log has bad size 9 (expect 5)' > %s/k2/restore.log; exit 1",
		n.store.WorkPath("c1")))
	outcome, start := n.create()
	if outcome != Runc || start.Outcome != "cold" || !strings.Contains(start.Reason, "bad size") || n.calls("restore") != 1 {
		t.Errorf("%v %+v, %d restores", outcome, start, n.calls("restore"))
	}
}

func TestWhatMayNotStartColdStartsIfThereIsNothingOfItYet(t *testing.T) {
	n := newNode(t)
	n.says(`{"verdict": "restore", "slots": ["shop/another"], "never_cold": true}`)
	if outcome, start := n.create(); outcome != Runc || start.Outcome != "blank" {
		t.Errorf("%v %+v", outcome, start)
	}
}

func TestWhatMayNotStartColdStartsIfItIsAnotherProgramByNow(t *testing.T) {
	n := newNode(t)
	n.says(`{"verdict": "restore", "slots": ["shop/u1"], "never_cold": true}`)
	other := strings.Replace(config, `"root"`, `"process": {"args": ["another"]}, "root"`, 1)
	os.WriteFile(n.dir+"/bundle/config.json", []byte(other), 0o600)
	if outcome, start := n.create(); outcome != Runc || start.Outcome != "cold" || n.calls("restore") != 0 {
		t.Errorf("%v %+v", outcome, start)
	}
}

// handsOut: its checkpoints are states that it handed out.
func (n *node) handsOut() {
	for _, id := range []string{"k1", "k2"} {
		slot := n.store.Slots() + "/shop/u1/app/" + id
		os.RemoveAll(slot)
		os.MkdirAll(slot, 0o700)
		os.WriteFile(slot+"/slot.json", fmt.Appendf(nil, `{"version": 1, "kind": "http", "checkpoint_id": %q}`, id), 0o600)
	}
}

// act performs what a call does that has waited for as long as any does.
func (n *node) act(decision decide.Decision) nodefiles.Start {
	call := cli.Parse([]string{"--root", n.dir + "/runc", "create", "--bundle", n.dir + "/bundle", "c1"})
	c := &Creation{Store: n.store, Call: call, Log: report.Log{Path: n.dir + "/log"}, bundle: n.dir + "/bundle"}
	c.spec, c.config, _ = bundle.Read(c.bundle + "/config.json")
	c.who = c.spec.Identity()
	c.act(decision)
	var start nodefiles.Start
	raw, _ := os.ReadFile(n.store.Path("starts", "c1.json"))
	json.Unmarshal(raw, &start)
	return start
}

func TestAProgramThatHandsOutItsStateWaitsForItWhenTheEngineStartedItWithoutTheAgentsWord(t *testing.T) {
	for name, c := range map[string]decide.Situation{
		"no agent since the boot":      {Agent: decide.NeverRan, LiveSlot: true, BootAgeS: decide.BlankAfterBootS},
		"no agent, and no verdict":     {Agent: decide.Dead, LiveSlot: true},
		"its last word was to wait":    {Agent: decide.Dead, Pod: said("wait", "asks first"), WaitedS: decide.VerdictWaitS},
		"a word of before the boot":    {Agent: decide.NeverRan, Pod: said("restore", ""), BootAgeS: decide.BlankAfterBootS},
		"a start of before the reboot": {Agent: decide.NeverRan, Pod: said("blank", "new"), BootAgeS: decide.BlankAfterBootS},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.handsOut()
			c.Container = "app"
			if start := n.act(decide.Create(c)); start.Outcome != "blank" || start.Reason != handBack {
				t.Errorf("%+v", start)
			}
		})
	}
}

func TestTheAgentsWordHoldsForAProgramThatHandsOutItsState(t *testing.T) {
	n := newNode(t)
	n.handsOut()
	n.says(`{"verdict": "blank", "reason": "an announced cold start"}`)
	if _, start := n.create(); start.Outcome != "blank" || start.Reason != "an announced cold start" {
		t.Errorf("%+v", start)
	}
	n.says(`{"verdict": "refuse", "reason": "restored on n2"}`)
	if _, start := n.create(); start.Outcome != "refused" {
		t.Errorf("%+v", start)
	}
}

func said(verdict, reason string) *nodefiles.Pod {
	return &nodefiles.Pod{Containers: map[string]nodefiles.Container{"app": {Verdict: verdict, Reason: reason}}}
}
