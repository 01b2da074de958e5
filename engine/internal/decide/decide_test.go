package decide

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"reprise.dev/engine/internal/nodefiles"
)

func pod(verdict, reason string) *nodefiles.Pod {
	return &nodefiles.Pod{Containers: map[string]nodefiles.Container{"app": {Verdict: verdict, Reason: reason}}}
}

func TestTheRulesOfCreate(t *testing.T) {
	const late = 1000
	for _, c := range []struct {
		rule string
		s    Situation
		want Action
		why  string // must be part of the reason
	}{
		// 2. No file in pods/.
		{"2: alive, first second: look again", Situation{Agent: Alive, LeaseHeld: true, WaitedS: 0.9}, Again, "list the pod"},
		{"2: alive, still none: runc", Situation{Agent: Alive, LeaseHeld: true, WaitedS: 1}, Runc, ""},
		{"2: still none, whatever the lease: runc", Situation{Agent: Alive, WaitedS: 1}, Runc, ""},
		{"2: dead: runc at once", Situation{Agent: Dead}, Runc, ""},
		{"2: never ran: runc at once", Situation{Agent: NeverRan}, Runc, ""},
		{"2: alive, live slot, first second", Situation{Agent: Alive, LiveSlot: true, WaitedS: 0.5}, Again, ""},
		{"2: alive, live slot, never listed: waits", Situation{Agent: Alive, LeaseHeld: true, LiveSlot: true, WaitedS: 19}, Again, ""},
		{"2: alive, live slot, never listed: fails", Situation{Agent: Alive, LeaseHeld: true, LiveSlot: true, WaitedS: 20}, Refuse, "does not list"},
		{"2: alive, live slot, no lease: fails", Situation{Agent: Alive, LiveSlot: true, WaitedS: 1}, Refuse, "lease"},
		{"2 and 5: dead, live slot", Situation{Agent: Dead, LiveSlot: true}, Restore, "dead"},
		{"2 and 6: never ran, live slot", Situation{Agent: NeverRan, LiveSlot: true, BootAgeS: 10}, Again, "booted"},
		{"2 and 6: never ran, live slot, late", Situation{Agent: NeverRan, LiveSlot: true, BootAgeS: 120}, Blank, "boot"},
		{"2: a failover's pod waits for the agent", Situation{Agent: Alive, LeaseHeld: true, Made: true, WaitedS: 19}, Again, "failover"},
		{"2: a failover's pod without the agent's word fails", Situation{Agent: Alive, LeaseHeld: true, Made: true, WaitedS: 20}, Refuse, "failover"},
		{"2: a failover's pod and a dead agent", Situation{Agent: Dead, Made: true, LiveSlot: true, WaitedS: 20}, Refuse, "failover"},
		{"2: a failover's pod is never blank after a boot", Situation{Agent: NeverRan, Made: true, WaitedS: 20, BootAgeS: late}, Refuse, "failover"},
		{"2: a failover's pod, listed before the reboot", Situation{Agent: NeverRan, Made: true, Pod: pod("restore", ""), WaitedS: 20, BootAgeS: late}, Refuse, "failover"},
		{"2: a failover's pod that its agent died over", Situation{Agent: Dead, Made: true, Pod: pod("wait", "not on this node"), WaitedS: 20}, Refuse, "not on this node"},
		{"2: a failover's pod by a dead agent's word", Situation{Agent: Dead, Made: true, Pod: pod("restore", "")}, Restore, ""},
		// 3. Not listed.
		{"3: not listed", Situation{Agent: Alive, LeaseHeld: true, Pod: &nodefiles.Pod{}}, Runc, "not protected"},
		{"3: not listed, no lease", Situation{Agent: Alive, Pod: &nodefiles.Pod{}}, Runc, ""},
		{"3: not listed, dead", Situation{Agent: Dead, Pod: &nodefiles.Pod{}}, Runc, ""},
		{"3: not listed, never ran, live slot", Situation{Agent: NeverRan, LiveSlot: true, Pod: &nodefiles.Pod{}}, Runc, ""},
		// 4. The agent is alive.
		{"4: refuse fails at once", Situation{Agent: Alive, LeaseHeld: true, Pod: pod("refuse", "fenced")}, Refuse, "fenced"},
		{"4: refuse says its own reason without a lease too", Situation{Agent: Alive, Pod: pod("refuse", "fenced")}, Refuse, "fenced"},
		{"4: restore", Situation{Agent: Alive, LeaseHeld: true, Pod: pod("restore", "")}, Restore, ""},
		{"4: blank", Situation{Agent: Alive, LeaseHeld: true, Pod: pod("blank", "a rollout")}, Blank, "a rollout"},
		{"4: restore without a lease", Situation{Agent: Alive, Pod: pod("restore", "")}, Refuse, "lease"},
		{"4: blank without a lease", Situation{Agent: Alive, Pod: pod("blank", "")}, Refuse, "lease"},
		{"4: wait without a lease", Situation{Agent: Alive, Pod: pod("wait", "")}, Refuse, "lease"},
		{"4: wait", Situation{Agent: Alive, LeaseHeld: true, Pod: pod("wait", "staging"), WaitedS: 19.9}, Again, "staging"},
		{"4: wait has an end", Situation{Agent: Alive, LeaseHeld: true, Pod: pod("wait", "staging"), WaitedS: 20}, Refuse, "staging"},
		{"4: an unknown verdict is a wait", Situation{Agent: Alive, LeaseHeld: true, Pod: pod("new", ""), WaitedS: 20}, Refuse, "20 s"},
		// 5. The agent is dead.
		{"5: restore, whatever the lease", Situation{Agent: Dead, Pod: pod("restore", "")}, Restore, ""},
		{"5: blank, whatever the lease", Situation{Agent: Dead, Pod: pod("blank", "")}, Blank, ""},
		{"5: refuse", Situation{Agent: Dead, Pod: pod("refuse", "")}, Refuse, "no reason"},
		{"5: wait", Situation{Agent: Dead, Pod: pod("wait", "x"), WaitedS: 19}, Again, "dead"},
		{"5: wait becomes restore", Situation{Agent: Dead, Pod: pod("wait", "x"), WaitedS: 20}, Restore, "dead"},
		{"4: a pod that a failover made waits longer", Situation{Agent: Alive, LeaseHeld: true, Made: true, Pod: pod("wait", "x"), WaitedS: 69}, Again, "x"},
		{"4: and not for ever", Situation{Agent: Alive, LeaseHeld: true, Made: true, Pod: pod("wait", "x"), WaitedS: 70}, Refuse, "waited 70 s: x"},
		// 6. The agent never ran since this boot.
		{"6: waits", Situation{Agent: NeverRan, Pod: pod("restore", ""), WaitedS: 19, BootAgeS: 30}, Again, "booted"},
		{"6: fails", Situation{Agent: NeverRan, Pod: pod("restore", ""), WaitedS: 20, BootAgeS: 119}, Refuse, "booted"},
		{"6: blank from 120 s on", Situation{Agent: NeverRan, Pod: pod("restore", ""), BootAgeS: 120}, Blank, "boot"},
		{"6: blank during the wait", Situation{Agent: NeverRan, Pod: pod("wait", ""), WaitedS: 12, BootAgeS: late}, Blank, "boot"},
		{"6: an old verdict counts for nothing", Situation{Agent: NeverRan, LeaseHeld: true, Pod: pod("blank", ""), BootAgeS: 10}, Again, ""},
	} {
		c.s.Container = "app"
		got := Create(c.s)
		if got.Action != c.want || !strings.Contains(got.Reason, c.why) {
			t.Errorf("%s: got %d %q, want %d ...%q...", c.rule, got.Action, got.Reason, c.want, c.why)
		}
	}
}

// The model of the node's agent (services/health-watcher/tests/engine_rule.py) is tested by the same table.
func TestTheRulesThatTheModelOfTheAgentKnows(t *testing.T) {
	table, err := os.ReadFile("testdata/create.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Agent, File, Act string
		LeaseHeld        bool    `json:"lease_held"`
		LiveSlot         bool    `json:"live_slot"`
		WaitedS          float64 `json:"waited_s"`
		BootAgeS         float64 `json:"boot_age_s"`
	}
	if err := json.Unmarshal(table, &cases); err != nil || len(cases) == 0 {
		t.Fatalf("%d cases: %v", len(cases), err)
	}
	agents := map[string]Agent{"alive": Alive, "dead": Dead, "never ran": NeverRan}
	acts := map[string]Action{"runc": Runc, "restore": Restore, "blank": Blank, "refuse": Refuse, "again": Again}
	for _, c := range cases {
		s := Situation{
			Agent: agents[c.Agent], LeaseHeld: c.LeaseHeld, Container: "app", LiveSlot: c.LiveSlot, WaitedS: c.WaitedS, BootAgeS: c.BootAgeS,
		}
		switch c.File {
		case "none":
		case "another container's":
			s.Pod = &nodefiles.Pod{}
		default:
			s.Pod = pod(c.File, "")
		}
		if got := Create(s); got.Action != acts[c.Act] {
			t.Errorf("%+v: got %d %q", c, got.Action, got.Reason)
		}
	}
}

func TestEveryWaitEnds(t *testing.T) {
	for _, agent := range []Agent{NeverRan, Alive, Dead} {
		for _, p := range []*nodefiles.Pod{nil, {}, pod("restore", ""), pod("blank", ""), pod("wait", ""), pod("refuse", "")} {
			for _, lease := range []bool{false, true} {
				for _, live := range []bool{false, true} {
					s := Situation{Agent: agent, LeaseHeld: lease, Pod: p, Container: "app", LiveSlot: live, WaitedS: 20, BootAgeS: 21}
					if Create(s).Action == Again {
						t.Errorf("%+v still waits", s)
					}
				}
			}
		}
	}
}

func TestNothingProtectedStartsWithoutALeaseWhileTheAgentIsAlive(t *testing.T) {
	for _, verdict := range []string{"restore", "blank", "wait", "refuse", ""} {
		for waited := 0.0; waited < 30; waited++ {
			for _, live := range []bool{false, true} {
				s := Situation{Agent: Alive, Pod: pod(verdict, ""), Container: "app", WaitedS: waited, LiveSlot: live, BootAgeS: 500}
				if got := Create(s); got.Action != Refuse {
					t.Errorf("%q after %v s: %d", verdict, waited, got.Action)
				}
			}
		}
	}
}

func TestTheAgentIsJudgedByBootAndHeartbeat(t *testing.T) {
	node := nodefiles.Node{BootID: "b", HeartbeatAtS: 100}
	for _, c := range []struct {
		node *nodefiles.Node
		now  float64
		want Agent
	}{
		{nil, 100, NeverRan}, {&nodefiles.Node{BootID: "old", HeartbeatAtS: 100}, 100, NeverRan},
		{&node, 105, Alive}, {&node, 105.1, Dead},
	} {
		if got := AgentOf(c.node, "b", c.now); got != c.want {
			t.Errorf("%+v at %v: %d", c.node, c.now, got)
		}
	}
}

func TestALeaseNeedsARenewalWithinItsTTL(t *testing.T) {
	at := 100.0
	for _, c := range []struct {
		node *nodefiles.Node
		now  float64
		want bool
	}{
		{nil, 100, false}, {&nodefiles.Node{TTLS: 3}, 100, false},
		{&nodefiles.Node{TTLS: 3, RenewedAtS: &at}, 103, true}, {&nodefiles.Node{TTLS: 3, RenewedAtS: &at}, 103.1, false},
	} {
		if got := LeaseHeld(c.node, c.now); got != c.want {
			t.Errorf("%+v at %v: %v", c.node, c.now, got)
		}
	}
}
