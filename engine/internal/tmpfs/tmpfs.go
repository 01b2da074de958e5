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
	if err := os.Chdir(folder); err != nil {
		return err
	}
	entries, err := list()
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
		if err := add(w, e, links); err != nil {
			return err
		}
	}
	return errors.Join(w.Close(), compressed.Close())
}

// list reads everything before the first byte is written: until then the real tar can take over.
func list() ([]entry, error) {
	var entries []entry
	var device uint64
	total := int64(0)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		if path == "." {
			if info, err = os.Stat("."); err != nil {
				return err
			}
			device = stat.Dev
		}
		if info.Mode().IsRegular() {
			total += info.Size()
		}
		if total > maxBytes || hasAttributes(path) {
			return errLarge
		}
		entries = append(entries, entry{path, info})
		if d.IsDir() && stat.Dev != device {
			return fs.SkipDir // --one-file-system
		}
		return nil
	})
	return entries, err
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

func add(w *tar.Writer, e entry, links map[uint64]string) error {
	if e.info.Mode()&os.ModeSocket != 0 {
		return nil // as tar: CRIU makes them
	}
	target := ""
	if e.info.Mode()&os.ModeSymlink != 0 {
		link, err := os.Readlink(e.path)
		if err != nil {
			return err
		}
		target = link
	}
	header, err := tar.FileInfoHeader(e.info, target)
	if err != nil {
		return err
	}
	header.Format, header.Uname, header.Gname = tar.FormatPAX, "", ""
	header.Name = "./" + e.path
	if e.path == "." {
		header.Name = "./"
	} else if e.info.IsDir() {
		header.Name += "/"
	}
	if stat := e.info.Sys().(*syscall.Stat_t); stat.Nlink > 1 && !e.info.IsDir() {
		if first, ok := links[stat.Ino]; ok {
			header.Typeflag, header.Linkname, header.Size = tar.TypeLink, first, 0
			return w.WriteHeader(header)
		}
		links[stat.Ino] = header.Name
	}
	if err := w.WriteHeader(header); err != nil || !e.info.Mode().IsRegular() {
		return err
	}
	file, err := os.Open(e.path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.CopyN(w, file, e.info.Size())
	return err
}
