package rootfs

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"reprise.dev/engine/internal/beneath"
)

// listing describes a tree: one line per entry.
func listing(t *testing.T, root string) string {
	t.Helper()
	var lines []string
	inodes := map[uint64]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		stat := info.Sys().(*syscall.Stat_t)
		line := fmt.Sprintf("%s %v %d:%d", name, info.Mode(), stat.Uid, stat.Gid)
		if info.Mode().IsRegular() {
			content, _ := os.ReadFile(path)
			line += fmt.Sprintf(" %q %d", content, info.ModTime().Unix())
			if stat.Nlink > 1 {
				if first, ok := inodes[stat.Ino]; ok {
					line += " = " + first
				}
				inodes[stat.Ino] = name
			}
		}
		if target, err := os.Readlink(path); err == nil {
			line += " -> " + target
		}
		if path != root {
			lines = append(lines, line)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

func write(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(root, name)
		os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// overlay mounts an overlay of two image layers; it skips where that needs rights we lack.
func overlay(t *testing.T) Overlay {
	t.Helper()
	base := t.TempDir()
	if err := syscall.Mount("tmpfs", base, "tmpfs", 0, ""); err != nil {
		t.Skipf("no mounts here: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(base, syscall.MNT_DETACH) })
	for _, d := range []string{"l1", "l2", "upper", "work", "merged"} {
		os.Mkdir(filepath.Join(base, d), 0o755)
	}
	write(t, base, map[string]string{
		"l2/etc/passwd": "root", "l2/etc/old": "old", "l2/bin/tool": "tool", "l2/dir/a": "a", "l2/dir/sub/b": "b",
		"l2/gone": "hidden by l1", "l1/app/main": "main",
	})
	syscall.Mknod(filepath.Join(base, "l1/gone"), syscall.S_IFCHR, 0)
	mounted := filepath.Join(base, "merged")
	options := fmt.Sprintf("lowerdir=%s/l1:%s/l2,upperdir=%s/upper,workdir=%s/work", base, base, base, base)
	if err := syscall.Mount("overlay", mounted, "overlay", 0, options); err != nil {
		t.Skipf("no overlay here: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(mounted, syscall.MNT_DETACH) })
	found, err := Find(mounted)
	if err != nil {
		t.Fatal(err)
	}
	if len(found.Lowers) != 2 || found.Upper != filepath.Join(base, "upper") {
		t.Fatalf("%+v", found)
	}
	return found
}

// change does to a root what containers do.
func change(t *testing.T, root string) {
	t.Helper()
	write(t, root, map[string]string{
		"etc/passwd": "changed", "var/lib/new/file": "new", "etc/hosts": "", "data/x": "on a mount point", "bin/suid": "s",
	})
	os.Remove(filepath.Join(root, "etc/old"))
	os.RemoveAll(filepath.Join(root, "dir"))
	os.MkdirAll(filepath.Join(root, "dir/sub"), 0o750)
	write(t, root, map[string]string{"dir/sub/c": "c"})
	os.RemoveAll(filepath.Join(root, "app"))
	write(t, root, map[string]string{"app": "a file where a folder was"})
	os.Link(filepath.Join(root, "var/lib/new/file"), filepath.Join(root, "var/lib/new/link"))
	os.Symlink("/etc/passwd", filepath.Join(root, "var/symlink"))
	syscall.Mkfifo(filepath.Join(root, "var/fifo"), 0o640)
	os.Lchown(filepath.Join(root, "var/fifo"), 7, 8)
	os.Chmod(filepath.Join(root, "bin/suid"), 0o755|os.ModeSetuid)
	os.MkdirAll(filepath.Join(root, "mnt/deep/secrets"), 0o755)
}

var testMounts = []string{"/etc/hosts", "/data", "/mnt/deep/secrets"}

func captured(t *testing.T, o Overlay) (string, Changes) {
	t.Helper()
	slot := t.TempDir()
	changes, err := Capture(o, testMounts, filepath.Join(slot, DiffTar))
	if err != nil {
		t.Fatal(err)
	}
	if len(changes.Deleted) > 0 {
		sort.Strings(changes.Deleted)
		os.WriteFile(filepath.Join(slot, DeletedFiles), []byte(`["`+strings.Join(changes.Deleted, `","`)+`"]`), 0o600)
	}
	return slot, changes
}

func TestWhatWasCapturedIsPutBackAndCanBeTakenBack(t *testing.T) {
	old, fresh := overlay(t), overlay(t)
	change(t, old.Merged)
	slot, changes := captured(t, old)
	if got := strings.Join(changes.Deleted, " "); got != "/dir/a /dir/sub/b /etc/old" && got != "/dir/a /etc/old" {
		t.Errorf("deleted: %s", got)
	}
	before := listing(t, fresh.Merged)
	undo, err := Apply(fresh.Merged, slot)
	if err != nil {
		t.Fatal(err)
	}
	// What is the runtime's is left out.
	os.RemoveAll(filepath.Join(old.Merged, "data"))
	os.RemoveAll(filepath.Join(old.Merged, "mnt"))
	os.Remove(filepath.Join(old.Merged, "etc/hosts"))
	aside, _ := filepath.Glob(filepath.Join(fresh.Merged, ".reprise-undo-*"))
	if len(aside) != 1 {
		t.Errorf("moved aside: %q", aside)
	}
	if err := undo.Revert(); err != nil {
		t.Fatal(err)
	}
	if after := listing(t, fresh.Merged); after != before {
		t.Errorf("reverted:\n%s\nwas:\n%s", after, before)
	}
	undo, err = Apply(fresh.Merged, slot)
	if err != nil {
		t.Fatal(err)
	}
	if err := undo.Done(); err != nil {
		t.Fatal(err)
	}
	if got, want := listing(t, fresh.Merged), listing(t, old.Merged); got != want {
		t.Errorf("put back:\n%s\nwas:\n%s", got, want)
	}
}

func TestAnUnchangedRootHasNoTar(t *testing.T) {
	o := overlay(t)
	write(t, o.Merged, map[string]string{"etc/hosts": ""}) // the runtime's
	os.MkdirAll(filepath.Join(o.Merged, "mnt/deep/secrets"), 0o755)
	slot, changes := captured(t, o)
	if changes.Tar || len(changes.Deleted) > 0 {
		t.Errorf("%+v", changes)
	}
	if left, _ := os.ReadDir(slot); len(left) > 0 {
		t.Errorf("%v", left)
	}
}

// archive writes a tar by hand.
func archive(t *testing.T, headers ...*tar.Header) string {
	t.Helper()
	slot := t.TempDir()
	file, _ := os.Create(filepath.Join(slot, DiffTar))
	defer file.Close()
	w := tar.NewWriter(file)
	for _, h := range headers {
		h.Uid, h.Gid = os.Getuid(), os.Getgid()
		if h.Typeflag == tar.TypeReg {
			h.Size = 1
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			w.Write([]byte("x"))
		}
	}
	w.Close()
	return slot
}

func TestNothingLeavesTheRoot(t *testing.T) {
	reg := func(name string) *tar.Header { return &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o600} }
	outside := t.TempDir()
	for name, slot := range map[string]string{
		"dots":                    archive(t, reg("../escaped")),
		"dots inside":             archive(t, reg("a/../../escaped")),
		"a symlink of its own":    archive(t, &tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: outside}, reg("l/escaped")),
		"a symlink of the image":  archive(t, reg("image-link/escaped")),
		"a hard link":             archive(t, &tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "image-link/secret"}),
		"a hard link with dots":   archive(t, &tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "../secret"}),
		"something tar cannot be": archive(t, &tar.Header{Name: "c", Typeflag: tar.TypeCont}),
	} {
		root := t.TempDir()
		write(t, outside, map[string]string{"secret": "s"})
		os.Symlink(outside, filepath.Join(root, "image-link"))
		write(t, root, map[string]string{"keep": "k"})
		before := listing(t, root)
		if _, err := Apply(root, slot); err == nil {
			t.Errorf("%s: was applied", name)
		}
		if after := listing(t, root); after != before {
			t.Errorf("%s: left\n%s", name, after)
		}
		if got := listing(t, outside); strings.Contains(got, "escaped") || !strings.Contains(got, "secret") {
			t.Errorf("%s: outside:\n%s", name, got)
		}
	}
}

func TestADeletionDoesNotFollowSymlinks(t *testing.T) {
	root, outside, slot := t.TempDir(), t.TempDir(), t.TempDir()
	write(t, outside, map[string]string{"secret": "s"})
	os.Symlink(outside, filepath.Join(root, "link"))
	os.WriteFile(filepath.Join(slot, DeletedFiles), []byte(`["/link/secret"]`), 0o600)
	if _, err := Apply(root, slot); err == nil {
		t.Error("went through a symlink")
	}
	os.WriteFile(filepath.Join(slot, DeletedFiles), []byte(`["/link", "/never/there"]`), 0o600)
	undo, err := Apply(root, slot)
	if err != nil {
		t.Fatal(err)
	}
	undo.Done()
	if got := listing(t, root); got != "" {
		t.Errorf("left: %s", got)
	}
	if _, err := os.Stat(filepath.Join(outside, "secret")); err != nil {
		t.Error(err)
	}
}

// The upper layer says "a folder" as long as nobody looks into it: what a sidecar exchanges right then is a symlink.
func TestNothingIsCapturedThroughASymlink(t *testing.T) {
	outside := t.TempDir()
	write(t, outside, map[string]string{"secret": "of the node", "deep/secret": "of the node"})
	for name, step := range map[string]func(c *capture, upper, merged beneath.Folder) error{
		"a folder of the upper layer": func(c *capture, upper, merged beneath.Folder) error {
			f, err := upper.Folder("exchanged")
			if err == nil {
				f.Close()
			}
			return err
		},
		"a folder that was renamed": func(c *capture, upper, merged beneath.Folder) error {
			f, err := merged.Folder("exchanged")
			if err == nil {
				return c.whole("exchanged", f)
			}
			return err
		},
		"a file": func(c *capture, upper, merged beneath.Folder) error {
			info, _ := os.Lstat(filepath.Join(outside, "secret"))
			return c.file("file", "file", merged, info, info)
		},
		"a file that is a pipe now": func(c *capture, upper, merged beneath.Folder) error {
			info, _ := os.Lstat(filepath.Join(outside, "secret"))
			return c.file("pipe", "pipe", merged, info, info)
		},
	} {
		o := Overlay{Upper: t.TempDir(), Merged: t.TempDir()}
		for _, root := range []string{o.Upper, o.Merged} {
			os.Symlink(outside, filepath.Join(root, "exchanged"))
			os.Symlink(filepath.Join(outside, "secret"), filepath.Join(root, "file"))
			syscall.Mkfifo(filepath.Join(root, "pipe"), 0o600)
		}
		upper, _ := beneath.Open(o.Upper)
		merged, _ := beneath.Open(o.Merged)
		var out bytes.Buffer
		c := &capture{overlay: o, tar: tar.NewWriter(&out), links: map[uint64]string{}}
		if err := step(c, upper, merged); err == nil {
			t.Errorf("%s: was read", name)
		}
		if strings.Contains(out.String(), "of the node") {
			t.Errorf("%s: leaked", name)
		}
		upper.Close()
		merged.Close()
	}
	// A symlink that was one from the start is captured as what it is.
	o := Overlay{Upper: t.TempDir(), Merged: t.TempDir()}
	for _, root := range []string{o.Upper, o.Merged} {
		os.Symlink(outside, filepath.Join(root, "link"))
	}
	slot, _ := captured(t, o)
	raw, _ := os.ReadFile(filepath.Join(slot, DiffTar))
	if strings.Contains(string(raw), "of the node") || strings.Contains(string(raw), "secret") || !strings.Contains(string(raw), outside) {
		t.Errorf("the tar of a symlink: %q", raw)
	}
}

// The race itself: a folder and a symlink change places all the time, and nothing of the node is ever captured.
func TestNothingLeaksWhileFoldersAndSymlinksChangePlaces(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("renameat2 has another number here")
	}
	outside := t.TempDir()
	write(t, outside, map[string]string{"secret": "of the node"})
	root := t.TempDir()
	write(t, root, map[string]string{"a/secret": "own"})
	os.Symlink(outside, filepath.Join(root, "b"))
	done := make(chan struct{})
	exchanging := make(chan struct{})
	go func() {
		defer close(exchanging)
		at, _ := syscall.Open(root, syscall.O_RDONLY, 0)
		defer syscall.Close(at)
		a, _ := syscall.BytePtrFromString("a")
		b, _ := syscall.BytePtrFromString("b")
		for {
			select {
			case <-done:
				return
			default:
				const renameat2, exchange = 316, 2
				syscall.Syscall6(renameat2, uintptr(at), uintptr(unsafe.Pointer(a)), uintptr(at), uintptr(unsafe.Pointer(b)), exchange, 0)
			}
		}
	}()
	whole := 0
	for began := time.Now(); time.Since(began) < 300*time.Millisecond; {
		path := filepath.Join(t.TempDir(), DiffTar)
		if _, err := Capture(Overlay{Upper: root, Merged: root}, nil, path); err == nil {
			whole++
		}
		if raw, _ := os.ReadFile(path); strings.Contains(string(raw), "of the node") {
			t.Error("leaked")
			break
		}
	}
	close(done)
	<-exchanging
	if whole == 0 {
		t.Error("nothing was captured at all")
	}
}

func TestMountOptionsAreParsed(t *testing.T) {
	dir := t.TempDir()
	upper := filepath.Join(dir, "up,per dir")
	os.Mkdir(upper, 0o755)
	escaped := strings.NewReplacer(" ", `\040`, ",", `\134,`).Replace(upper)
	info := fmt.Sprintf("1 2 0:3 / /m rw - overlay overlay rw,lowerdir=/a:/b\\134:c,upperdir=%s,workdir=/w\n", escaped)
	got, err := find(info, "/m")
	if err != nil || got.Upper != upper || strings.Join(got.Lowers, " ") != "/a /b:c" {
		t.Errorf("%+v %v", got, err)
	}
	if _, err := find("1 2 0:3 / /m rw - ext4 /dev/x rw\n", "/m"); err == nil {
		t.Error("ext4 is an overlay")
	}
}

func TestMain(m *testing.M) {
	// Tests mount: in a namespace of their own, where that is possible.
	if os.Getenv("REPRISE_TEST_NAMESPACE") == "" && os.Getuid() == 0 {
		if unshare, err := exec.LookPath("unshare"); err == nil {
			cmd := exec.Command(unshare, append([]string{"-m", os.Args[0]}, os.Args[1:]...)...)
			cmd.Env = append(os.Environ(), "REPRISE_TEST_NAMESPACE=1")
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			if err := cmd.Run(); err != nil {
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}
