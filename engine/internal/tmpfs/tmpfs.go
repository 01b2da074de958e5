// Package tmpfs stands in for the `tar --gzip` that CRIU starts for each tmpfs of a container while it stands still.
//
// A container has three to five of them, nearly empty: /dev, /dev/shm and one for each masked folder. Three processes for
// each (tar, a shell, gzip) were the largest part of a small container's pause. What is written is an ordinary tar.gz,
// which the node's own tar unpacks at a restore.
package tmpfs

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"reprise.dev/engine/internal/beneath"
)

// maxBytes is what is packed here. More is left to tar, which knows holes in files.
const maxBytes = 32 << 20

var errLarge = errors.New("left to tar")

// Arrange makes a folder whose `tar` is the engine, and returns an environment that finds it first.
func Arrange(folder string) ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	link := filepath.Join(folder, "tar")
	if target, err := os.Readlink(link); err != nil || target != self {
		os.Remove(link)
		if err := os.Symlink(self, link); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	environment := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PATH=") })
	return append(environment, "PATH="+folder+":"+os.Getenv("PATH")), nil
}

// Tar does what CRIU asks tar for, or becomes the real tar.
func Tar(args []string) int {
	if folder, ok := create(args); ok {
		err := pack(folder, os.Stdout)
		if err == nil {
			return 0
		}
		if !errors.Is(err, errLarge) {
			os.Stderr.WriteString("reprise: tar: " + err.Error() + "\n")
			return 2
		}
	}
	own := filepath.Dir(os.Args[0])
	var path []string
	for _, p := range filepath.SplitList(os.Getenv("PATH")) {
		if filepath.Clean(p) != filepath.Clean(own) && !isOurs(p) {
			path = append(path, p)
		}
	}
	os.Setenv("PATH", strings.Join(path, ":"))
	real, err := exec.LookPath("tar")
	if err == nil {
		err = syscall.Exec(real, append([]string{"tar"}, args...), os.Environ())
	}
	os.Stderr.WriteString("reprise: tar: " + err.Error() + "\n")
	return 2
}

// isOurs reports whether a folder's tar is this program.
func isOurs(folder string) bool {
	self, err := os.Executable()
	target, e := os.Readlink(filepath.Join(folder, "tar"))
	return err == nil && e == nil && target == self
}

// create recognizes CRIU's call (criu/filesystems.c, tmpfs_dump).
func create(args []string) (folder string, ok bool) {
	at := slices.Index(args, "--directory")
	if at < 0 || at+3 != len(args) || args[at+2] != "." || !slices.Contains(args, "--create") || !slices.Contains(args, "--gzip") {
		return "", false
	}
	return args[at+1], true
}

type entry struct {
	path string
	info os.FileInfo
}

func pack(folder string, out io.Writer) error {
	root, err := beneath.Open(folder)
	if err != nil {
		return err
	}
	defer root.Close()
	entries, err := list(root)
	if err != nil {
		return err
	}
	compressed, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err != nil {
		return err
	}
	w := tar.NewWriter(compressed)
	links := map[uint64]string{}
	for _, e := range entries {
		if err := add(w, root, e, links); err != nil {
			return err
		}
	}
	return errors.Join(w.Close(), compressed.Close())
}

// list reads everything before the first byte is written: until then the real tar can take over.
func list(root beneath.Folder) ([]entry, error) {
	info, err := root.Stat()
	if err != nil {
		return nil, err
	}
	l := lister{device: info.Sys().(*syscall.Stat_t).Dev}
	err = l.folder(".", root, info)
	return l.entries, err
}

type lister struct {
	entries []entry
	device  uint64
	total   int64
}

func (l *lister) folder(path string, f beneath.Folder, info os.FileInfo) error {
	if hasAttributes(f.Path()) {
		return errLarge
	}
	l.entries = append(l.entries, entry{path, info})
	if info.Sys().(*syscall.Stat_t).Dev != l.device {
		return nil // --one-file-system
	}
	names, err := f.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := l.entry(filepath.Join(path, name), name, f); err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) entry(path, name string, in beneath.Folder) error {
	info, err := in.Lstat(name)
	if err != nil {
		return err
	}
	if info.IsDir() {
		f, err := in.Folder(name)
		if err != nil {
			return err
		}
		defer f.Close()
		if info, err = f.Stat(); err != nil {
			return err
		}
		return l.folder(path, f, info)
	}
	if info.Mode().IsRegular() {
		l.total += info.Size()
	}
	// A symlink's own attributes cannot be asked for by name without following it; users cannot set any.
	if l.total > maxBytes || (info.Mode()&os.ModeSymlink == 0 && hasAttributes(in.Entry(name))) {
		return errLarge
	}
	l.entries = append(l.entries, entry{path, info})
	return nil
}

// hasAttributes: extended attributes other than the label that the mount gives are left to tar.
func hasAttributes(path string) bool {
	list := make([]byte, 4096)
	n, err := syscall.Listxattr(path, list)
	if err != nil {
		return err == syscall.ERANGE
	}
	for _, name := range strings.Split(string(list[:n]), "\x00") {
		if name != "" && name != "security.selinux" {
			return true
		}
	}
	return false
}

func add(w *tar.Writer, root beneath.Folder, e entry, links map[uint64]string) error {
	if e.info.Mode()&os.ModeSocket != 0 {
		return nil // as tar: CRIU makes them
	}
	if e.info.IsDir() {
		name := "./" + e.path + "/"
		if e.path == "." {
			name = "./"
		}
		return header(w, name, e.info, "")
	}
	in, err := parent(root, e.path)
	if err != nil {
		return err
	}
	if in != root {
		defer in.Close()
	}
	base := filepath.Base(e.path)
	if stat := e.info.Sys().(*syscall.Stat_t); stat.Nlink > 1 {
		if first, ok := links[stat.Ino]; ok {
			h, err := described(e.info, "", "./"+e.path)
			if err != nil {
				return err
			}
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return w.WriteHeader(h)
		}
		links[stat.Ino] = "./" + e.path
	}
	if e.info.Mode().IsRegular() {
		file, info, err := in.File(base)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := header(w, "./"+e.path, info, ""); err != nil {
			return err
		}
		_, err = io.CopyN(w, file, info.Size())
		return err
	}
	target := ""
	if e.info.Mode()&os.ModeSymlink != 0 {
		if target, err = in.Readlink(base); err != nil {
			return err
		}
	}
	return header(w, "./"+e.path, e.info, target)
}

// parent opens the folder that holds path, from the root on.
func parent(root beneath.Folder, path string) (beneath.Folder, error) {
	at := root
	parts := strings.Split(path, "/")
	for _, part := range parts[:len(parts)-1] {
		next, err := at.Folder(part)
		if at != root {
			at.Close()
		}
		if err != nil {
			return beneath.Folder{}, err
		}
		at = next
	}
	return at, nil
}

func described(info os.FileInfo, target, name string) (*tar.Header, error) {
	h, err := tar.FileInfoHeader(info, target)
	if err == nil {
		h.Format, h.Uname, h.Gname, h.Name = tar.FormatPAX, "", "", name
	}
	return h, err
}

func header(w *tar.Writer, name string, info os.FileInfo, target string) error {
	h, err := described(info, target, name)
	if err != nil {
		return err
	}
	return w.WriteHeader(h)
}
