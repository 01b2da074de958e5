// Package create performs `create`: it looks at the node's files, decides, and restores, starts blank or refuses.
package create

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"reprise.dev/engine/internal/bundle"
	"reprise.dev/engine/internal/cli"
	"reprise.dev/engine/internal/decide"
	"reprise.dev/engine/internal/nodefiles"
	"reprise.dev/engine/internal/report"
	"reprise.dev/engine/internal/slots"
)

const lookAgain = 25 * time.Millisecond

// The kubelet gives a call to the runtime two minutes. What is not done by then it tries again, beside us.
const (
	limit       = 100 * time.Second
	leastForTry = 10 * time.Second // with less, another checkpoint is not tried
)

// Outcome tells main what is left to do.
type Outcome int

// The outcomes. Runc: become runc with the call as it came.
const (
	Runc Outcome = iota
	Done
	Failed
)

// Creation is one call of create.
type Creation struct {
	Store nodefiles.Store
	Call  cli.Call
	Log   report.Log

	bundle   string
	spec     bundle.Spec
	config   []byte // config.json as the runtime wrote it
	who      bundle.Identity
	began    time.Time
	idle     time.Duration // spent waiting with a restored process for a failover to need it
	attempts []nodefiles.Attempt
	stop     chan struct{} // closed by the first signal that asks us to end

	protected bool
}

// Protected reports whether a decision to protect was made: from then on no trouble of the engine starts a container.
func (c *Creation) Protected() bool { return c.protected }

// Run performs the call.
func (c *Creation) Run() Outcome {
	if c.began.IsZero() {
		c.began = time.Now()
	}
	c.bundle = c.Call.Option("bundle", "b")
	if c.bundle == "" {
		c.bundle, _ = os.Getwd()
	}
	var err error
	c.spec, c.config, err = bundle.Read(filepath.Join(c.bundle, "config.json"))
	if err != nil || c.Call.ID() == "" {
		return Runc // runc says what is wrong with it
	}
	if c.who = c.spec.Identity(); !c.who.Workload {
		return Runc
	}
	decision := c.decide()
	if decision.Action == decide.Runc {
		return Runc
	}
	c.protected = true
	c.catchSignals()
	return c.act(decision)
}

// decide looks at the node's files until they say something final.
func (c *Creation) decide() decide.Decision {
	for {
		decision := c.look()
		if decision.Action != decide.Again {
			if decision.Action == decide.Restore && len(decision.Said.Slots) == 0 && decision.Said.Verdict != "restore" {
				decision.Said.Slots = c.places() // nobody named others
			}
			return decision
		}
		time.Sleep(lookAgain)
	}
}

// look is one look at the node's files.
func (c *Creation) look() decide.Decision {
	now, node := nodefiles.Boottime(), c.Store.Node()
	situation := decide.Situation{
		Agent: decide.AgentOf(node, nodefiles.BootID(), now), LeaseHeld: decide.LeaseHeld(node, now),
		Pod: c.Store.Pod(c.who.PodUID), Container: c.who.Container,
		WaitedS: time.Since(c.began).Seconds(), BootAgeS: nodefiles.BootAge(),
		Made: c.spec.Made() && !c.Store.Released(c.who.PodUID),
	}
	if situation.Pod == nil {
		situation.LiveSlot = slices.ContainsFunc(c.places(), func(place string) bool {
			return slots.HasLive(c.Store.Slots(), place, c.who.Container)
		})
	}
	return decide.Create(situation)
}

// places are those of the pod's own slots and, if a failover made it, of those that it came of.
func (c *Creation) places() []string {
	own := []string{c.who.Namespace + "/" + c.who.PodUID}
	if from := c.spec.CameOf(); from != "" {
		return append(own, from)
	}
	return own
}

func (c *Creation) act(decision decide.Decision) Outcome {
	if c.waitsForItsState(decision) {
		return c.blank("blank", handBack)
	}
	switch decision.Action {
	case decide.Blank:
		return c.blank("blank", decision.Reason)
	case decide.Restore:
		return c.restore(decision.Said)
	}
	return c.refuse(decision.Reason)
}

// handBack is the reason of a start that its agent completes: it hands the program's state back (docs/node-files.md).
const handBack = "it starts plainly; its state is handed back through its own API"

// waitsForItsState reports whether the engine starts, without the agent's word, a program that hands out its state. Its agent
// must learn later that this process lacks its state.
func (c *Creation) waitsForItsState(decision decide.Decision) bool {
	starts := decision.Action == decide.Blank || decision.Action == decide.Restore
	said := decision.Said
	if !starts || (said.Reason == decision.Reason && (said.Verdict == "restore" || said.Verdict == "blank")) {
		return false
	}
	return slices.ContainsFunc(c.places(), func(place string) bool {
		return slots.HandedOut(c.Store.Slots(), place, c.who.Container)
	})
}

// badSize is CRIU's word (files-reg.c) for an open file that is not as long as it was. The checkpoint before is of an even older
// file: to try it too would cost as much again, for nothing.
const badSize = "has bad size"

// restore tries the checkpoints in their order, and says how the container starts if none can be restored.
func (c *Creation) restore(said nodefiles.Container) Outcome {
	const maxTries = 2 // live, and the one before it: a crash must not cost much more than a restart
	exactly := said.CheckpointID != "" || said.Frozen
	found, unfit := slots.Candidates(c.Store.Slots(), c.who.Container, said)
	c.attempts = unfit
	tries := 0
	for _, slot := range found {
		if reason := c.doesNotFit(slot); reason != "" {
			c.attempts = append(c.attempts, nodefiles.Attempt{CheckpointID: slot.Meta.CheckpointID, Error: reason})
			continue
		}
		if tries++; tries > maxTries || (tries > 1 && c.left() < leastForTry) {
			break
		}
		err := c.attempt(slot, said)
		if err == nil {
			return Done
		}
		c.attempts = append(c.attempts, nodefiles.Attempt{CheckpointID: slot.Meta.CheckpointID, Error: err.Error()})
		if errors.Is(err, errNotMeant) {
			return c.refuse(err.Error())
		}
		if c.stopped() {
			return c.refuse("ended by a signal while it restored")
		}
		if strings.Contains(err.Error(), badSize) {
			break
		}
	}
	switch {
	case exactly && len(c.attempts) == 0:
		return c.refuse("the checkpoint that is to be restored is not on this node: " + orAny(said.CheckpointID))
	case exactly, said.NeverCold && tries > 0: // what was changed since is started all the same
		last := c.attempts[len(c.attempts)-1]
		return c.refuse(fmt.Sprintf("checkpoint %s cannot be restored: %s", last.CheckpointID, last.Error))
	case len(c.attempts) == 0:
		return c.blank("blank", "there is no checkpoint")
	}
	return c.blank("cold", c.attempts[0].Error)
}

// left is the time until the call has to be over.
func (c *Creation) left() time.Duration { return limit - time.Since(c.began) }

func orAny(id string) string {
	if id == "" {
		return "there is none"
	}
	return id
}

// blank reports and leaves the start to runc, with the bundle as the runtime wrote it.
func (c *Creation) blank(outcome, reason string) Outcome {
	c.report(nodefiles.Start{Outcome: outcome, Reason: reason})
	return Runc
}

func (c *Creation) refuse(reason string) Outcome {
	c.report(nodefiles.Start{Outcome: "refused", Reason: reason})
	report.Failure(c.Call.Global("log"), c.Call.Global("log-format"), reason)
	return Failed
}

func (c *Creation) report(start nodefiles.Start) {
	start.ContainerID, start.Namespace, start.Pod = c.Call.ID(), c.who.Namespace, c.who.Pod
	start.PodUID, start.Container = c.who.PodUID, c.who.Container
	start.Attempts = c.attempts
	start.At, start.AtS = time.Now().UTC().Format(time.RFC3339Nano), nodefiles.Boottime()
	start.TookS = (time.Since(c.began) - c.idle).Seconds()
	if err := c.Store.PutStart(start); err != nil {
		c.Log.Write("warning", report.Fields{"container_id": start.ContainerID, "message": err.Error()})
	}
	c.Log.Write("start", report.Fields{
		"container_id": start.ContainerID, "namespace": start.Namespace, "pod": start.Pod, "container": start.Container,
		"outcome": start.Outcome, "reason": start.Reason, "checkpoint_id": start.CheckpointID, "attempts": start.Attempts,
		"took_s": start.TookS,
	})
}

func (c *Creation) catchSignals() {
	c.stop = make(chan struct{})
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	go func() {
		<-signals
		close(c.stop)
	}()
}

func (c *Creation) stopped() bool {
	select {
	case <-c.stop:
		return true
	default:
		return false
	}
}
