// Package slots finds the checkpoints that lie on the node and may be restored.
package slots

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"reprise.dev/engine/internal/nodefiles"
)

// Slot is one complete checkpoint.
type Slot struct {
	Path string // its folder
	Name string // <namespace>/<pod uid>/<container>/<checkpoint id>
	Meta Meta
}

// Meta is slot.json.
type Meta struct {
	Version      int                 `json:"version"`
	Kind         string              `json:"kind"`
	CheckpointID string              `json:"checkpoint_id"`
	Namespace    string              `json:"namespace"`
	Pod          string              `json:"pod"`
	PodUID       string              `json:"pod_uid"`
	Container    string              `json:"container"`
	ContainerID  string              `json:"container_id"`
	Image        string              `json:"image"`
	Runtime      string              `json:"runtime"`
	Engine       string              `json:"engine"`
	Criu         string              `json:"criu"`
	Kernel       string              `json:"kernel"`
	CreatedAt    string              `json:"created_at"`
	PauseS       float64             `json:"pause_s"`
	Held         bool                `json:"held"`
	Stopped      []int               `json:"stopped"`
	Size         int64               `json:"size"`
	Stats        nodefiles.DumpStats `json:"stats"`
}

// Images is the folder of CRIU's files.
func (s Slot) Images() string { return filepath.Join(s.Path, "checkpoint") }

// Candidates returns what may be restored, best first, and what may not, with the reason.
func Candidates(root, container string, said nodefiles.Container) ([]Slot, []nodefiles.Attempt) {
	var found []Slot
	var unfit []nodefiles.Attempt
	seen := map[string]bool{}
	for _, place := range said.Slots {
		for _, id := range pointed(root, place, container, said.CheckpointID) {
			if seen[place+"/"+id] {
				continue
			}
			seen[place+"/"+id] = true
			slot, err := open(root, place, container, id)
			switch {
			case slices.Contains(said.Rejected, id):
				unfit = append(unfit, nodefiles.Attempt{CheckpointID: id, Error: "rejected by the agent"})
			case errors.Is(err, fs.ErrNotExist) && id == said.CheckpointID:
				// Another of the places may have the pinned one.
			case err != nil:
				unfit = append(unfit, nodefiles.Attempt{CheckpointID: id, Error: err.Error()})
			default:
				found = append(found, slot)
			}
		}
	}
	return found, unfit
}

// HasLive reports whether a container has a live checkpoint at <namespace>/<pod uid>.
func HasLive(root, place, container string) bool {
	id, err := target(root, place, container, "live")
	return err == nil && id != ""
}

// HandedOut reports whether a container's live checkpoint at <namespace>/<pod uid> is a state that its program handed out.
func HandedOut(root, place, container string) bool {
	id, err := target(root, place, container, "live")
	if err != nil {
		return false
	}
	_, err = open(root, place, container, id)
	return errors.Is(err, errHandedOut)
}

// errHandedOut: CRIU has no part in such a checkpoint. The node's agent posts it back to the process that runs.
var errHandedOut = errors.New("it is a state that the program handed out, which only the node's agent gives back")

// pointed returns the ids that live and previous name, or the pinned one.
func pointed(root, place, container, pinned string) []string {
	if pinned != "" {
		return []string{pinned}
	}
	var ids []string
	for _, link := range []string{"live", "previous"} {
		if id, err := target(root, place, container, link); err == nil && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

func target(root, place, container, link string) (string, error) {
	dir, err := folder(root, place, container)
	if err != nil {
		return "", err
	}
	id, err := os.Readlink(filepath.Join(dir, link))
	if err != nil {
		return "", err
	}
	id = filepath.Clean(id)
	if !nodefiles.SafeName(id) {
		return "", fmt.Errorf("%s/%s points out of its folder: %q", dir, link, id)
	}
	return id, nil
}

// folder returns <root>/<namespace>/<pod uid>/<container>, if root alone could have put it there.
func folder(root, place, container string) (string, error) {
	if !nodefiles.SafeSlots(place) || !nodefiles.SafeName(container) {
		return "", fmt.Errorf("unsafe slot name %q %q", place, container)
	}
	at := root
	for _, part := range []string{"", filepath.Dir(place), filepath.Base(place), container} {
		at = filepath.Join(at, part)
		if err := ownFolder(at); err != nil {
			return "", err
		}
	}
	return at, nil
}

func ownFolder(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder", path)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || stat.Uid != owner || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s can be written by others than root", path)
	}
	return nil
}

// owner of slots. Tests run as whoever runs them.
var owner = uint32(0)

func open(root, place, container, id string) (Slot, error) {
	slot := Slot{Name: place + "/" + container + "/" + id}
	dir, err := folder(root, place, container)
	if err != nil {
		return slot, err
	}
	if !nodefiles.SafeName(id) {
		return slot, fmt.Errorf("unsafe checkpoint id %q", id)
	}
	slot.Path = filepath.Join(dir, id)
	if err := ownFolder(slot.Path); err != nil {
		return slot, err
	}
	raw, err := os.ReadFile(filepath.Join(slot.Path, "slot.json"))
	if err != nil {
		return slot, fmt.Errorf("incomplete: %v", err)
	}
	if err := json.Unmarshal(raw, &slot.Meta); err != nil {
		return slot, fmt.Errorf("slot.json: %v", err)
	}
	if slot.Meta.Version != nodefiles.Version || slot.Meta.CheckpointID != id {
		return slot, fmt.Errorf("slot.json is of checkpoint %q, version %d", slot.Meta.CheckpointID, slot.Meta.Version)
	}
	if slot.Meta.Kind == "http" {
		return slot, errHandedOut
	}
	return slot, ownFolder(slot.Images())
}
