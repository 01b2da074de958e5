package tmpfs

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"

	"reprise.dev/engine/internal/beneath"
)

func listing(t *testing.T, root string) string {
	t.Helper()
	var lines []string
	filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		info, _ := d.Info()
		stat := info.Sys().(*syscall.Stat_t)
		name, _ := filepath.Rel(root, path)
		line := fmt.Sprintf("%s %v %d:%d %x %d", name, info.Mode(), stat.Uid, stat.Gid, stat.Rdev, info.ModTime().Unix())
		if info.Mode().IsRegular() {
			content, _ := os.ReadFile(path)
			line += fmt.Sprintf(" %q %d", content, stat.Nlink)
		}
		if target, err := os.Readlink(path); err == nil {
			line += " -> " + target
		}
		lines = append(lines, line)
		return nil
	})
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

func TestTheNodesTarUnpacksWhatWasPacked(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	os.MkdirAll(from+"/dir/empty", 0o750)
	os.WriteFile(from+"/dir/file", []byte("content"), 0o604)
	os.Link(from+"/dir/file", from+"/link")
	os.Symlink("/proc/self/fd", from+"/fd")
	syscall.Mkfifo(from+"/fifo", 0o600)
	if os.Getuid() == 0 {
		syscall.Mknod(from+"/null", syscall.S_IFCHR|0o666, 1<<8|3)
		os.Lchown(from+"/fd", 5, 6)
		os.Chown(from+"/dir", 7, 8)
	}
	os.Chmod(from, 0o751)
	var packed bytes.Buffer
	if err := pack(from, &packed); err != nil {
		t.Fatal(err)
	}
	// As CRIU calls it (criu/filesystems.c, tmpfs_restore).
	unpack := exec.Command("tar", "--extract", "--gzip", "--no-unquote", "--no-wildcards", "--directory", to)
	unpack.Stdin = &packed
	if out, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	// tar as root keeps owners and modes.
	if got, want := listing(t, to), listing(t, from); got != want {
		t.Errorf("unpacked:\n%s\nwas:\n%s", got, want)
	}
}

func TestWhatIsLargeIsLeftToTar(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(dir+"/sparse", nil, 0o600)
	os.Truncate(dir+"/sparse", maxBytes+1)
	var packed bytes.Buffer
	if err := pack(dir, &packed); err != errLarge || packed.Len() != 0 {
		t.Errorf("%v, %d bytes", err, packed.Len())
	}
}

func TestNothingIsPackedThroughASymlink(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	os.WriteFile(outside+"/secret", []byte("of the node"), 0o600)
	os.MkdirAll(dir+"/folder", 0o700)
	os.WriteFile(dir+"/folder/secret", []byte("own"), 0o600)
	os.WriteFile(dir+"/file", []byte("own"), 0o600)
	root, err := beneath.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	entries, err := list(root)
	if err != nil || len(entries) != 4 {
		t.Fatalf("%v %v", entries, err)
	}
	// Between the list and the reading a sidecar puts symlinks in their place.
	os.RemoveAll(dir + "/folder")
	os.Remove(dir + "/file")
	os.Symlink(outside, dir+"/folder")
	os.Symlink(outside+"/secret", dir+"/file")
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	for _, e := range entries {
		if err := add(w, root, e, map[uint64]string{}); err == nil && !e.info.IsDir() {
			t.Errorf("%s was read", e.path)
		}
	}
	if strings.Contains(packed.String(), "of the node") {
		t.Error("leaked")
	}
}

func TestOnlyCriusCallIsOurs(t *testing.T) {
	for line, want := range map[string]string{
		"--create --gzip --no-unquote --one-file-system --sparse --numeric-owner --directory /proc/self/fd/0 .": "/proc/self/fd/0",
		"--extract --gzip --directory /proc/self/fd/0":                                                          "",
		"--create --directory /x .": "",
		"-xf a.tar":                 "",
		"":                          "",
	} {
		if got, _ := create(strings.Fields(line)); got != want {
			t.Errorf("%q: %q", line, got)
		}
	}
}
