package create

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"reprise.dev/engine/internal/bundle"
	"reprise.dev/engine/internal/criu"
	"reprise.dev/engine/internal/decide"
	"reprise.dev/engine/internal/fits"
	"reprise.dev/engine/internal/freezer"
	"reprise.dev/engine/internal/nodefiles"
	"reprise.dev/engine/internal/report"
	"reprise.dev/engine/internal/rootfs"
	"reprise.dev/engine/internal/runc"
	"reprise.dev/engine/internal/slots"
)

// A restore that hangs is ended: a fixed part, and what memory takes to read from a slow disk.
const (
	restoreTimeout       = 20 * time.Second
	restoreTimeoutPerGiB = 4 * time.Second
	freezeTimeout        = 10 * time.Second
)

func (c *Creation) doesNotFit(slot slots.Slot) string {
	taken, _, err := bundle.Read(filepath.Join(slot.Path, "spec.dump"))
	if err != nil {
		return "incomplete: " + err.Error()
	}
	if reason := fits.Difference(taken, c.spec); reason != "" {
		return "does not fit: " + reason
	}
	return ""
}

// attempt restores one checkpoint, or leaves everything as it was.
func (c *Creation) attempt(slot slots.Slot, said nodefiles.Container) error {
	id := c.Call.ID()
	work := filepath.Join(c.Store.WorkPath(id), slot.Meta.CheckpointID)
	if err := criu.CheckPages(slot.Images()); err != nil {
		return err
	}
	if err := os.MkdirAll(work, 0o700); err != nil {
		return err
	}
	os.Remove(filepath.Join(work, runcLog))
	if err := c.configureCriu(); err != nil {
		return err
	}
	root := c.spec.RootPath(c.bundle)
	mounted := map[string]bool{}
	for _, point := range runc.MountsBelow(root) {
		mounted[point] = true
	}
	undo, err := rootfs.Apply(root, slot.Path)
	if err != nil {
		return errors.Join(fmt.Errorf("root file system: %w", err), c.writeConfig(c.config))
	}
	// The mark comes first: there is no moment in which a restored container is not known as one.
	if err = c.Store.MarkRestored(id); err == nil {
		err = c.run(slot, work)
	}
	if err == nil {
		err = c.settle(slot, said)
	}
	if err != nil {
		c.Store.Unmark(id)
		runc.CleanUp(c.Store.Runc, c.Call.Globals, c.Call.Global("root"), id, root, mounted)
		os.Remove(c.Call.Option("pid-file"))
		return errors.Join(err, undo.Revert(), c.writeConfig(c.config))
	}
	if err := undo.Done(); err != nil {
		c.Log.Write("warning", report.Fields{"container_id": id, "message": err.Error()})
	}
	stats, _ := criu.RestoreStats(work)
	c.report(nodefiles.Start{
		Outcome: "restored", CheckpointID: slot.Meta.CheckpointID, Slot: slot.Name, Frozen: said.Frozen, Criu: stats,
	})
	return nil
}

// errNotMeant: the restore went well, and by then it was not what the node's files say any more.
var errNotMeant = errors.New("restored and ended again")

// stillMeant looks at the decision once more: a large process takes long to restore, and meanwhile the lease may
// have run out or the agent may have taken back its word.
func (c *Creation) stillMeant(slot slots.Slot) error {
	decision := c.look()
	said, reason := decision.Said, ""
	switch {
	case decision.Action != decide.Restore:
		reason = decision.Reason
	case said.Frozen:
		reason = "it is to be restored frozen"
	case said.CheckpointID != "" && said.CheckpointID != slot.Meta.CheckpointID:
		reason = "checkpoint " + said.CheckpointID + " is to be restored"
	case slices.Contains(said.Rejected, slot.Meta.CheckpointID):
		reason = "rejected by the agent"
	default:
		return nil
	}
	return fmt.Errorf("%w: meanwhile %s: %s", errNotMeant, changed[decision.Action], reason)
}

// taken waits, with what was restored frozen, for as long as no failover needs the pod. Its container is not started
// meanwhile, so nobody takes the pod for one that is ready.
func (c *Creation) taken(slot slots.Slot) error {
	began := time.Now()
	defer func() { c.idle += time.Since(began) }()
	for {
		decision := c.look()
		said := decision.Said
		switch meant := said.Frozen && said.CheckpointID == slot.Meta.CheckpointID; {
		case decision.Action == decide.Restore && meant && !said.Ahead:
			return nil
		case decision.Action == decide.Restore && !meant:
			return fmt.Errorf("%w: meanwhile %s", errNotMeant, changed[decision.Action])
		case decision.Action != decide.Restore && decision.Action != decide.Again:
			return fmt.Errorf("%w: meanwhile %s: %s", errNotMeant, changed[decision.Action], decision.Reason)
		}
		if c.stopped() {
			return fmt.Errorf("%w: by a signal", errNotMeant)
		}
		if c.left() <= 0 {
			return fmt.Errorf("%w: no failover has taken it within %v", errNotMeant, limit)
		}
		time.Sleep(lookAgain)
	}
}

// changed says what a second look found, by its action.
var changed = map[decide.Action]string{
	decide.Restore: "something else is asked for", decide.Runc: "it is not protected any more",
	decide.Blank: "it is to start blank", decide.Refuse: "it must not start", decide.Again: "the decision is open",
}

func (c *Creation) run(slot slots.Slot, work string) error {
	timeout := restoreTimeout + time.Duration(float64(slot.Meta.Size)/(1<<30)*float64(restoreTimeoutPerGiB))
	if timeout = min(timeout, c.left()); timeout <= 0 {
		return fmt.Errorf("no time left: create has to end within %v", limit)
	}
	err := runc.Run(c.Store.Runc, c.arguments(slot, work), timeout, c.stop)
	if err == nil {
		return nil
	}
	if errors.Is(err, runc.ErrTimeout) && !c.stopped() {
		return fmt.Errorf("the restore took longer than %v", timeout.Round(time.Second))
	}
	if cause := criu.Cause(filepath.Join(work, "restore.log")); cause != "" {
		return errors.New(cause)
	}
	if message := runc.LastError(filepath.Join(work, runcLog)); message != "" {
		return errors.New(message)
	}
	return fmt.Errorf("runc restore: %w", err)
}

// runcLog keeps what runc says about an attempt out of the container's own log, which stderr may be.
const runcLog = "runc.log"

// arguments turns the command line of create into one of restore. What restore does not know is left out.
func (c *Creation) arguments(slot slots.Slot, work string) []string {
	args := append([]string{}, c.Call.Globals...)
	args = append(args, "--log", filepath.Join(work, runcLog), "--log-format", "json", "restore", "--detach", "--bundle", c.bundle, "--image-path", slot.Images(),
		"--work-path", work, "--manage-cgroups-mode", "ignore")
	for _, name := range []string{"pid-file", "console-socket"} {
		if value := c.Call.Option(name); value != "" {
			args = append(args, "--"+name, value)
		}
	}
	if c.Call.Switch("no-pivot") {
		args = append(args, "--no-pivot")
	}
	return append(append(args, c.labels()...), c.Call.ID())
}

// labels gives the processes the new container's confinement: an SELinux label differs for each container.
func (c *Creation) labels() []string {
	var args []string
	process := c.spec.Process
	switch {
	case process.SelinuxLabel != "" && present("/sys/fs/selinux/enforce"):
		args = append(args, "--lsm-profile", "selinux:"+process.SelinuxLabel)
		if c.spec.Linux.MountLabel != "" {
			args = append(args, "--lsm-mount-context", c.spec.Linux.MountLabel)
		}
	case process.ApparmorProfile != "" && process.ApparmorProfile != "unconfined" && present("/sys/kernel/security/apparmor"):
		args = append(args, "--lsm-profile", "apparmor:"+process.ApparmorProfile)
	}
	return args
}

func present(path string) bool { _, err := os.Stat(path); return err == nil }

// configureCriu gives this container a CRIU configuration file of its own, named by an annotation that runc reads.
func (c *Creation) configureCriu() error {
	lines := append([]string{"leave-stopped"}, c.Store.Criu.Config...)
	path := c.Store.CriuConfigPath(c.Call.ID())
	if err := criu.WriteConfig(path, lines...); err != nil {
		return err
	}
	annotated, err := bundle.Annotate(c.config, "org.criu.config", path)
	if err != nil {
		return err
	}
	return c.writeConfig(annotated)
}

func (c *Creation) writeConfig(content []byte) error {
	path := filepath.Join(c.bundle, "config.json")
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if err := nodefiles.WriteRaw(path, content); err != nil {
		return err
	}
	return os.Chmod(path, info.Mode())
}

// settle decides whether what was restored, of which nothing has run yet, may run: at once, or when the agent releases it. Ahead of
// a failover it is not even started.
func (c *Creation) settle(slot slots.Slot, said nodefiles.Container) error {
	group, err := c.freeze(slot)
	if err != nil {
		return err
	}
	if said.Ahead {
		return c.taken(slot)
	}
	if said.Frozen {
		return nil
	}
	if err := c.stillMeant(slot); err != nil {
		return err
	}
	return group.Thaw()
}

// freeze takes over from CRIU's leave-stopped: the cgroup is frozen while every process is stopped, then the
// stop is lifted. From then on thawing the cgroup is all that is needed to let it run.
func (c *Creation) freeze(slot slots.Slot) (freezer.Group, error) {
	state, err := runc.ReadState(c.Call.Global("root"), c.Call.ID())
	if err != nil {
		return freezer.Group{}, err
	}
	group, err := state.Group()
	if err != nil {
		return group, err
	}
	if err := group.Freeze(freezeTimeout); err != nil {
		return group, fmt.Errorf("freezing what was restored: %w", err)
	}
	return group, group.Continue(slot.Meta.Stopped)
}
