// Package decide holds the rules of create: the files of a node in, one decision out. No I/O.
//
// Invariant: nothing protected starts while another node may run it. An agent that is alive vouches for that by
// its lease; one that died on this boot left its last verdict; one that never ran on this boot has not asked yet.
package decide

import (
	"fmt"

	"reprise.dev/engine/internal/nodefiles"
)

// Bounds of waiting, in seconds.
const (
	HeartbeatMaxAgeS = 5
	FileWaitS        = 1
	VerdictWaitS     = 20
	MadeWaitS        = 70 // of a pod that a failover made: its checkpoint may not even be taken yet
	BlankAfterBootS  = 120
)

// Agent is what node.json says about the agent of this node.
type Agent int

// The agent's states.
const (
	NeverRan Agent = iota
	Alive
	Dead
)

// AgentOf judges node.json (nil if absent) at the time nowS of CLOCK_BOOTTIME.
func AgentOf(node *nodefiles.Node, bootID string, nowS float64) Agent {
	switch {
	case node == nil || node.BootID != bootID:
		return NeverRan
	case nowS-node.HeartbeatAtS <= HeartbeatMaxAgeS:
		return Alive
	}
	return Dead
}

// LeaseHeld reports whether the node's lease has not run out at nowS.
func LeaseHeld(node *nodefiles.Node, nowS float64) bool {
	return node != nil && node.RenewedAtS != nil && nowS-*node.RenewedAtS <= node.TTLS
}

// Situation is one look at the node's files.
type Situation struct {
	Agent     Agent
	LeaseHeld bool
	Pod       *nodefiles.Pod // nil: no file
	Container string
	LiveSlot  bool    // this pod has a live slot, or the one that it came of
	Made      bool    // a failover made the pod, and is not final yet
	WaitedS   float64 // since create was called
	BootAgeS  float64
}

// Action is what create does.
type Action int

// The actions. Again means: look once more in a moment.
const (
	Runc Action = iota
	Restore
	Blank
	Refuse
	Again
)

// Decision is an action with its reason.
type Decision struct {
	Action Action
	Reason string
	// Said is the agent's word on the container; without one it is empty.
	Said nodefiles.Container
}

// Create applies the rules 2 to 6 of docs/node-files.md to a workload's container.
func Create(s Situation) Decision {
	if s.Pod == nil {
		return withoutFile(s)
	}
	said, listed := s.Pod.Containers[s.Container]
	if !listed {
		return Decision{Action: Runc, Reason: "not protected"}
	}
	decision := listedContainer(s, said)
	decision.Said = said
	return decision
}

// withoutFile is rule 2.
func withoutFile(s Situation) Decision {
	if s.Agent == Alive && s.WaitedS < FileWaitS {
		return Decision{Action: Again, Reason: "waiting for the agent to list the pod"}
	}
	if s.Made {
		return madeWithoutWord(s)
	}
	if !s.LiveSlot {
		return Decision{Action: Runc, Reason: "the agent does not list the pod"}
	}
	switch s.Agent {
	case Dead:
		return Decision{Action: Restore, Reason: "the agent is dead and left no verdict; the pod has a checkpoint"}
	case NeverRan:
		return neverRan(s)
	}
	// Protected, and the agent that knows of no pod is alive: only it can say that nobody else runs this.
	return alive(s, nodefiles.Container{Verdict: "wait", Reason: "the agent does not list the pod, which has a checkpoint"})
}

// madeWithoutWord never starts anything: only the agent knows whether the failover is final.
func madeWithoutWord(s Situation) Decision {
	const reason = "a failover made this pod, and the agent has not said yet how it starts"
	if s.WaitedS < VerdictWaitS {
		return Decision{Action: Again, Reason: reason}
	}
	return refused(fmt.Sprintf("waited %d s: %s", VerdictWaitS, reason))
}

func listedContainer(s Situation, said nodefiles.Container) Decision {
	switch s.Agent {
	case Alive:
		return alive(s, said)
	case Dead:
		return dead(s, said)
	}
	return neverRan(s)
}

// alive is rule 4.
func alive(s Situation, said nodefiles.Container) Decision {
	if said.Verdict == "refuse" {
		return refused(said.Reason)
	}
	if !s.LeaseHeld {
		return refused("this node's lease has run out: the workload may be running on another node")
	}
	switch said.Verdict {
	case "restore":
		return Decision{Action: Restore, Reason: said.Reason}
	case "blank":
		return Decision{Action: Blank, Reason: said.Reason}
	}
	wait := VerdictWaitS
	if s.Made {
		wait = MadeWaitS
	}
	if s.WaitedS < float64(wait) {
		return Decision{Action: Again, Reason: said.Reason}
	}
	return refused(fmt.Sprintf("waited %d s: %s", wait, orUnknown(said.Reason)))
}

// dead is rule 5.
func dead(s Situation, said nodefiles.Container) Decision {
	switch said.Verdict {
	case "refuse":
		return refused(said.Reason)
	case "restore":
		return Decision{Action: Restore, Reason: said.Reason}
	case "blank":
		return Decision{Action: Blank, Reason: said.Reason}
	}
	if s.WaitedS < VerdictWaitS {
		return Decision{Action: Again, Reason: "the agent is dead; its last word was: " + orUnknown(said.Reason)}
	}
	if s.Made {
		return refused(fmt.Sprintf("waited %d s: %s", VerdictWaitS, orUnknown(said.Reason)))
	}
	return Decision{Action: Restore, Reason: fmt.Sprintf("the agent is dead; waited %d s for it", VerdictWaitS)}
}

// neverRan is rule 6.
func neverRan(s Situation) Decision {
	if s.Made {
		return madeWithoutWord(s)
	}
	if s.BootAgeS >= BlankAfterBootS {
		return Decision{Action: Blank, Reason: fmt.Sprintf(
			"the agent has not run within %d s of the node's boot", BlankAfterBootS)}
	}
	if s.WaitedS < VerdictWaitS {
		return Decision{Action: Again, Reason: "the agent has not run since the node booted"}
	}
	return refused("the agent has not run since the node booted: a checkpoint from before the boot may run elsewhere")
}

func refused(reason string) Decision { return Decision{Action: Refuse, Reason: orUnknown(reason)} }

func orUnknown(reason string) string {
	if reason == "" {
		return "the agent gave no reason"
	}
	return reason
}
