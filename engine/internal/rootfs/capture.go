package rootfs

import (
	"archive/tar"
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"reprise.dev/engine/internal/beneath"
)

// Changes are what Capture found.
type Changes struct {
	Tar     bool     // the tar has entries
	Deleted []string // absolute paths inside of the container
}

// Capture writes what the container changed to a tar, and returns what it deleted. The upper layer says
// what changed; what it is now is read through the mount, because a layer may have metadata only.
// Mount points (absolute paths inside) are the runtime's and left out.
func Capture(o Overlay, mounts []string, path string) (Changes, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Changes{}, err
	}
	buffered := bufio.NewWriterSize(file, 1<<20)
	c := &capture{overlay: o, tar: tar.NewWriter(buffered), mounts: map[string]bool{}, links: map[uint64]string{}}
	for _, m := range append([]string{"/dev", "/proc", "/sys", "/run/secrets", "/run/.containerenv"}, mounts...) {
		c.mounts[strings.Trim(m, "/")] = true
	}
	err = c.root()
	for _, finish := range []func() error{c.tar.Close, buffered.Flush, file.Close} {
		if e := finish(); err == nil {
			err = e
		}
	}
	if err != nil || !c.changes.Tar {
		os.Remove(path)
	}
	return c.changes, err
}

type capture struct {
	overlay Overlay
	tar     *tar.Writer
	mounts  map[string]bool
	links   map[uint64]string // the first name of each inode of the upper layer that has several
	pending []pendingFolder   // folders on the way that have not been written yet
	changes Changes
}

// A folder is written before the first thing in it that changed, or if it changed itself. It is open meanwhile.
type pendingFolder struct {
	path   string
	merged beneath.Folder
}

// root opens both views of the root file system and walks them. Nothing is found by its path from here on: what
// shares the container's processes can exchange folders and symlinks while we read as root.
func (c *capture) root() error {
	upper, err := beneath.Open(c.overlay.Upper)
	if err != nil {
		return err
	}
	defer upper.Close()
	merged, err := beneath.Open(c.overlay.Merged)
	if err != nil {
		return err
	}
	defer merged.Close()
	return c.folder("", upper, merged, false)
}

// folder walks one folder of the upper layer. hidden: nothing of the image shows through it.
func (c *capture) folder(path string, upper, merged beneath.Folder, hidden bool) error {
	hidden = hidden || (path != "" && isOpaque(upper.Path()))
	if path != "" && isRedirected(upper.Path()) {
		if err := c.flush(); err != nil {
			return err
		}
		return c.whole(path, merged)
	}
	names, err := upper.Names()
	if err != nil {
		return err
	}
	kept := map[string]bool{}
	for _, name := range names {
		kept[name] = true
		if err := c.entry(path, name, upper, merged, hidden); err != nil {
			return err
		}
	}
	if hidden {
		for _, name := range c.overlay.lowerNames(path) {
			if !kept[name] {
				c.deleted(filepath.Join(path, name))
			}
		}
	}
	return nil
}

func (c *capture) entry(folder, name string, upperIn, mergedIn beneath.Folder, hidden bool) error {
	path := filepath.Join(folder, name)
	if c.mounts[path] {
		return nil
	}
	info, err := upperIn.Lstat(name)
	if err != nil {
		return err
	}
	if isWhiteout(info) {
		if c.overlay.lower(path) != nil {
			c.deleted(path)
		}
		return nil
	}
	if !info.IsDir() {
		shown, err := mergedIn.Lstat(name)
		if err != nil {
			return err
		}
		return c.file(path, name, mergedIn, info, shown)
	}
	upper, err := upperIn.Folder(name)
	if err != nil {
		return err
	}
	defer upper.Close()
	merged, err := mergedIn.Folder(name)
	if err != nil {
		return err
	}
	defer merged.Close()
	now, err := merged.Stat()
	if err != nil {
		return err
	}
	depth := len(c.pending)
	c.pending = append(c.pending, pendingFolder{path, merged})
	if c.folderChanged(path, now) {
		if err := c.flush(); err != nil {
			return err
		}
	}
	if err := c.folder(path, upper, merged, hidden); err != nil {
		return err
	}
	if len(c.pending) > depth {
		c.pending = c.pending[:depth]
	}
	return nil
}

// folderChanged reports whether a folder itself is a change: new, and not the way to a mount point, or
// with another owner or mode than the image's.
func (c *capture) folderChanged(path string, now os.FileInfo) bool {
	old := c.overlay.lower(path)
	if old == nil || !old.IsDir() {
		for mount := range c.mounts {
			if strings.HasPrefix(mount, path+"/") {
				return false
			}
		}
		return true
	}
	a, b := old.Sys().(*syscall.Stat_t), now.Sys().(*syscall.Stat_t)
	return a.Uid != b.Uid || a.Gid != b.Gid || old.Mode() != now.Mode()
}

// whole writes everything that shows in a renamed folder.
func (c *capture) whole(path string, merged beneath.Folder) error {
	names, err := merged.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := c.wholeEntry(filepath.Join(path, name), name, merged); err != nil {
			return err
		}
	}
	return nil
}

func (c *capture) wholeEntry(path, name string, in beneath.Folder) error {
	info, err := in.Lstat(name)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return c.file(path, name, in, info, info)
	}
	folder, err := in.Folder(name)
	if err != nil {
		return err
	}
	defer folder.Close()
	c.pending = append(c.pending, pendingFolder{path, folder})
	if err := c.flush(); err != nil {
		return err
	}
	return c.whole(path, folder)
}

func (c *capture) deleted(path string) { c.changes.Deleted = append(c.changes.Deleted, "/"+path) }

func (c *capture) flush() error {
	pending := c.pending
	c.pending = nil
	for _, f := range pending {
		info, err := f.merged.Stat()
		if err != nil {
			return err
		}
		if err := c.header(f.path, info, "", xattrs(f.merged.Path())); err != nil {
			return err
		}
	}
	return nil
}

// file writes what is no folder: an entry of the open folder in, as the upper layer and the mount describe it.
func (c *capture) file(path, name string, in beneath.Folder, upper, merged os.FileInfo) error {
	if merged.Mode()&os.ModeSocket != 0 {
		return nil // tar has no sockets; CRIU binds those of running processes again
	}
	if err := c.flush(); err != nil {
		return err
	}
	stat := upper.Sys().(*syscall.Stat_t)
	if stat.Nlink > 1 {
		if first, ok := c.links[stat.Ino]; ok {
			c.changes.Tar = true
			return c.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeLink, Name: path, Linkname: first, Format: tar.FormatPAX})
		}
		c.links[stat.Ino] = path
	}
	if merged.Mode().IsRegular() {
		return c.regular(path, name, in)
	}
	target := ""
	if merged.Mode()&os.ModeSymlink != 0 {
		link, err := in.Readlink(name)
		if err != nil {
			return err
		}
		target = link
	}
	return c.header(path, merged, target, nil)
}

// regular describes the file that it reads, and not what had its name a moment ago.
func (c *capture) regular(path, name string, in beneath.Folder) error {
	file, info, err := in.File(name)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := c.header(path, info, "", xattrs(fmt.Sprintf("/proc/self/fd/%d", file.Fd()))); err != nil {
		return err
	}
	_, err = io.CopyN(c.tar, file, info.Size())
	return err
}

func (c *capture) header(path string, info os.FileInfo, target string, records map[string]string) error {
	header, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	header.Name = path
	if info.IsDir() {
		header.Name += "/"
	}
	header.Format = tar.FormatPAX
	header.Uname, header.Gname = "", "" // names of the node's users mean nothing in a container
	header.PAXRecords = records
	c.changes.Tar = true
	return c.tar.WriteHeader(header)
}

const xattrPrefix = "SCHILY.xattr."

// xattrs returns extended attributes as tar records, without the labels that the node gives.
func xattrs(path string) map[string]string {
	size, err := syscall.Listxattr(path, nil)
	if err != nil || size <= 0 {
		return nil
	}
	list := make([]byte, size)
	if size, err = syscall.Listxattr(path, list); err != nil {
		return nil
	}
	records := map[string]string{}
	for _, name := range strings.Split(strings.TrimRight(string(list[:size]), "\x00"), "\x00") {
		if name == "" || name == "security.selinux" || strings.Contains(name, ".overlay.") {
			continue
		}
		value := make([]byte, 64<<10)
		if n, err := syscall.Getxattr(path, name, value); err == nil {
			records[xattrPrefix+name] = string(value[:n])
		}
	}
	return records
}
