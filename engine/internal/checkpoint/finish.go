package checkpoint

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"reprise.dev/engine/internal/criu"
	"reprise.dev/engine/internal/nodefiles"
	"reprise.dev/engine/internal/rootfs"
	"reprise.dev/engine/internal/slots"
)

// writeDescriptors writes what runc restore reads: the pipes that are the container's stdio.
func writeDescriptors(partial string, descriptors []string) error {
	if descriptors == nil {
		descriptors = []string{}
	}
	return writeJSON(filepath.Join(partial, "checkpoint", "descriptors.json"), descriptors)
}

func writeJSON(path string, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return os.WriteFile(path, raw, 0o600)
}

// finish completes the slot while the container runs again.
func (c *Checkpoint) finish() (int64, nodefiles.DumpStats, error) {
	stats, err := criu.DumpStats(c.partial)
	if err != nil {
		return 0, stats, err
	}
	if len(c.changes.Deleted) > 0 {
		if err := writeJSON(filepath.Join(c.partial, rootfs.DeletedFiles), c.changes.Deleted); err != nil {
			return 0, stats, err
		}
	}
	if err := c.describe(); err != nil {
		return 0, stats, err
	}
	size, err := sizeOf(c.partial)
	if err != nil {
		return 0, stats, err
	}
	if err := c.label(size, stats); err != nil {
		return 0, stats, err
	}
	c.leaveLogs()
	if err := c.leaveStub(); err != nil {
		return 0, stats, err
	}
	return size, stats, c.publish()
}

// describe writes spec.dump and config.dump, as podman, CRI-O and checkpointctl know them.
func (c *Checkpoint) describe() error {
	raw, err := os.ReadFile(filepath.Join(c.bundle, "config.json"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(c.partial, "spec.dump"), raw, 0o600); err != nil {
		return err
	}
	image := c.spec.Image()
	name := c.spec.Annotations["io.kubernetes.cri-o.Name"]
	if name == "" {
		name = c.who.Container
	}
	return writeJSON(filepath.Join(c.partial, "config.dump"), map[string]any{
		"id": c.Call.ID(), "name": name, "rootfsImage": image.Requested, "rootfsImageRef": image.Ref,
		"rootfsImageName": image.Name, "runtime": "reprise-runc",
		"createdTime": c.state.Created, "checkpointedTime": c.from.UTC(),
	})
}

func (c *Checkpoint) label(size int64, stats nodefiles.DumpStats) error {
	path, _ := exec.LookPath("criu")
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return writeJSON(filepath.Join(c.partial, "slot.json"), slots.Meta{
		Version: nodefiles.Version, CheckpointID: c.Request.CheckpointID,
		Namespace: c.who.Namespace, Pod: c.who.Pod, PodUID: c.who.PodUID, Container: c.who.Container,
		ContainerID: c.Call.ID(), Image: c.spec.Image().Requested, Runtime: c.who.Runtime,
		Engine: c.Version, Criu: criu.Version(path), Kernel: strings.TrimSpace(string(kernel)),
		CreatedAt: c.from.UTC().Format(time.RFC3339Nano), PauseS: c.to.Sub(c.from).Seconds(),
		Held: c.Request.Hold, Stopped: c.stopped, Size: size, Stats: stats,
	})
}

// leaveLogs puts CRIU's log and statistics where the runtime expects them.
func (c *Checkpoint) leaveLogs() {
	work := c.Call.Option("work-path")
	if work == "" {
		work = c.Call.Option("image-path")
	}
	if work == "" || c.partial == "" || os.MkdirAll(work, 0o700) != nil {
		return
	}
	for _, name := range []string{"dump.log", "stats-dump"} {
		if raw, err := os.ReadFile(filepath.Join(c.partial, name)); err == nil {
			os.WriteFile(filepath.Join(work, name), raw, 0o600)
		}
	}
}

// leaveStub gives the runtime something to archive.
func (c *Checkpoint) leaveStub() error {
	images := c.Call.Option("image-path")
	if images == "" {
		return nil
	}
	if err := os.MkdirAll(images, 0o700); err != nil {
		return err
	}
	return writeJSON(filepath.Join(images, "reprise.json"), map[string]any{"version": nodefiles.Version, "slot": c.name})
}

// publish makes the slot durable, then visible: after a power cut it is whole or not there.
func (c *Checkpoint) publish() error {
	if err := syncTree(c.partial); err != nil {
		return err
	}
	if err := os.Rename(c.partial, c.final()); err != nil {
		return err
	}
	c.partial = c.final()
	return syncPath(filepath.Dir(c.final()))
}

func syncTree(root string) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !entry.IsDir() && !entry.Type().IsRegular() {
			return nil
		}
		return syncPath(path)
	})
}

func syncPath(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return file.Sync()
}

func sizeOf(root string) (int64, error) {
	total := int64(0)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}
