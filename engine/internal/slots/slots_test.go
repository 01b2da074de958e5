package slots

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"reprise.dev/engine/internal/nodefiles"
)

func put(t *testing.T, root, place, id string) string {
	t.Helper()
	owner = uint32(os.Getuid())
	dir := filepath.Join(root, place, "app", id)
	if err := os.MkdirAll(filepath.Join(dir, "checkpoint"), 0o700); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(filepath.Join(dir, "slot.json"), []byte(fmt.Sprintf(`{"version": 1, "checkpoint_id": %q}`, id)), 0o600)
	return dir
}

func point(t *testing.T, root, place, link, id string) {
	t.Helper()
	if err := os.Symlink(id, filepath.Join(root, place, "app", link)); err != nil {
		t.Fatal(err)
	}
}

func root(t *testing.T) string {
	dir := filepath.Join(t.TempDir(), "slots")
	os.Mkdir(dir, 0o700)
	return dir
}

func ids(slots []Slot) string {
	out := ""
	for _, s := range slots {
		out += s.Meta.CheckpointID + " "
	}
	return out
}

func TestOnlyLiveAndPreviousAreRestoredInTheOrderOfThePlaces(t *testing.T) {
	r := root(t)
	for _, id := range []string{"a", "b", "c"} {
		put(t, r, "ns/u1", id)
	}
	put(t, r, "ns/u2", "d")
	point(t, r, "ns/u1", "live", "b")
	point(t, r, "ns/u1", "previous", "a")
	point(t, r, "ns/u2", "live", "d")
	for _, c := range []struct {
		said nodefiles.Container
		want string
	}{
		{nodefiles.Container{Slots: []string{"ns/u1"}}, "b a "},
		{nodefiles.Container{Slots: []string{"ns/u2", "ns/u1"}}, "d b a "},
		{nodefiles.Container{Slots: []string{"ns/u1"}, CheckpointID: "c"}, "c "},
		{nodefiles.Container{Slots: []string{"ns/u2", "ns/u1"}, CheckpointID: "c"}, "c "},
		{nodefiles.Container{Slots: []string{"ns/u1"}, Rejected: []string{"b"}}, "a "},
		{nodefiles.Container{Slots: []string{"ns/u1"}, CheckpointID: "c", Rejected: []string{"c"}}, ""},
		{nodefiles.Container{Slots: []string{"ns/none"}}, ""},
		{nodefiles.Container{}, ""},
	} {
		found, _ := Candidates(r, "app", c.said)
		if ids(found) != c.want {
			t.Errorf("%+v: %q, want %q", c.said, ids(found), c.want)
		}
	}
}

func TestARejectedOrBrokenCheckpointIsReported(t *testing.T) {
	r := root(t)
	put(t, r, "ns/u", "a")
	os.WriteFile(filepath.Join(put(t, r, "ns/u", "b"), "slot.json"), []byte("{"), 0o600)
	point(t, r, "ns/u", "live", "b")
	point(t, r, "ns/u", "previous", "a")
	found, unfit := Candidates(r, "app", nodefiles.Container{Slots: []string{"ns/u"}, Rejected: []string{"a"}})
	if len(found) != 0 || len(unfit) != 2 || unfit[0].CheckpointID != "b" || unfit[1].Error != "rejected by the agent" {
		t.Errorf("%v %v", found, unfit)
	}
}

func TestASlotThatOthersCouldHaveWrittenIsNotRestored(t *testing.T) {
	for name, spoil := range map[string]func(dir string){
		"the slot is a symlink": func(dir string) { os.Rename(dir, dir+"x"); os.Symlink(dir+"x", dir) },
		"its images are a symlink": func(dir string) {
			os.Rename(dir+"/checkpoint", dir+"/y")
			os.Symlink("y", dir+"/checkpoint")
		},
		"it can be written by others": func(dir string) { os.Chmod(dir, 0o777) },
		"its folder is a symlink":     func(dir string) { d := filepath.Dir(dir); os.Rename(d, d+"x"); os.Symlink(d+"x", d) },
		"it belongs to somebody":      func(string) { owner++ },
	} {
		r := root(t)
		dir := put(t, r, "ns/u", "a")
		point(t, r, "ns/u", "live", "a")
		spoil(dir)
		if found, _ := Candidates(r, "app", nodefiles.Container{Slots: []string{"ns/u"}}); len(found) != 0 {
			t.Errorf("%s: %v", name, found)
		}
	}
}

func TestNoNameLeavesTheSlotsFolder(t *testing.T) {
	r := root(t)
	put(t, r, "ns/u", "a")
	point(t, r, "ns/u", "live", "../../other/app/x")
	for _, said := range []nodefiles.Container{
		{Slots: []string{"ns/u"}}, {Slots: []string{"../ns"}}, {Slots: []string{"ns/../ns/u"}}, {Slots: []string{"/ns/u"}},
		{Slots: []string{"ns/u"}, CheckpointID: "../a"},
	} {
		if found, _ := Candidates(r, "app", said); len(found) != 0 {
			t.Errorf("%+v: %v", said, found)
		}
	}
	if HasLive(r, "ns/u", "app") || HasLive(r, "../ns", "app") {
		t.Error("live")
	}
}

func TestAStateThatAProgramHandedOutIsToldFromCriusCheckpointsAndNeverRestored(t *testing.T) {
	r := root(t)
	dir := put(t, r, "ns/u", "a")
	point(t, r, "ns/u", "live", "a")
	if HandedOut(r, "ns/u", "app") || HandedOut(r, "ns/none", "app") {
		t.Error("CRIU's, and none at all")
	}
	os.Remove(filepath.Join(dir, "checkpoint"))
	os.WriteFile(filepath.Join(dir, "slot.json"), []byte(`{"version": 1, "kind": "http", "checkpoint_id": "a"}`), 0o600)
	if !HandedOut(r, "ns/u", "app") {
		t.Error("not seen")
	}
	found, unfit := Candidates(r, "app", nodefiles.Container{Slots: []string{"ns/u"}})
	if len(found) != 0 || len(unfit) != 1 || unfit[0].Error != errHandedOut.Error() {
		t.Errorf("%v %v", found, unfit)
	}
}
