package rootfs

import (
	"archive/tar"
	"bufio"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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
	err = c.folder("", false)
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

// A folder is written before the first thing in it that changed, or if it changed itself.
type pendingFolder struct {
	path string
	info os.FileInfo
}

// folder walks one folder of the upper layer. hidden: nothing of the image shows through it.
func (c *capture) folder(path string, hidden bool) error {
	upper := filepath.Join(c.overlay.Upper, path)
	hidden = hidden || (path != "" && isOpaque(upper))
	if path != "" && isRedirected(upper) {
		return c.whole(path)
	}
	entries, err := os.ReadDir(upper)
	if err != nil {
		return err
	}
	kept := map[string]bool{}
	for _, entry := range entries {
		kept[entry.Name()] = true
		if err := c.entry(filepath.Join(path, entry.Name()), hidden); err != nil {
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

func (c *capture) entry(path string, hidden bool) error {
	if c.mounts[path] {
		return nil
	}
	info, err := os.Lstat(filepath.Join(c.overlay.Upper, path))
	if err != nil {
		return err
	}
	if isWhiteout(info) {
		if c.overlay.lower(path) != nil {
			c.deleted(path)
		}
		return nil
	}
	merged, err := os.Lstat(filepath.Join(c.overlay.Merged, path))
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return c.file(path, info, merged)
	}
	depth := len(c.pending)
	c.pending = append(c.pending, pendingFolder{path, merged})
	if c.folderChanged(path, merged) {
		if err := c.flush(); err != nil {
			return err
		}
	}
	if err := c.folder(path, hidden); err != nil {
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

// whole writes a renamed folder with everything that shows in it.
func (c *capture) whole(path string) error {
	return filepath.WalkDir(filepath.Join(c.overlay.Merged, path), func(full string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(c.overlay.Merged, full)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return c.file(inside, info, info)
		}
		if inside == path {
			return c.flush()
		}
		c.pending = append(c.pending, pendingFolder{inside, info})
		return c.flush()
	})
}

func (c *capture) deleted(path string) { c.changes.Deleted = append(c.changes.Deleted, "/"+path) }

func (c *capture) flush() error {
	pending := c.pending
	c.pending = nil
	for _, f := range pending {
		if err := c.header(f.path, f.info, ""); err != nil {
			return err
		}
	}
	return nil
}

func (c *capture) file(path string, upper, merged os.FileInfo) error {
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
	target := ""
	if merged.Mode()&os.ModeSymlink != 0 {
		link, err := os.Readlink(filepath.Join(c.overlay.Merged, path))
		if err != nil {
			return err
		}
		target = link
	}
	if err := c.header(path, merged, target); err != nil || !merged.Mode().IsRegular() {
		return err
	}
	file, err := os.OpenFile(filepath.Join(c.overlay.Merged, path), os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.CopyN(c.tar, file, merged.Size())
	return err
}

func (c *capture) header(path string, info os.FileInfo, target string) error {
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
	if info.Mode().IsRegular() || info.IsDir() {
		header.PAXRecords = xattrs(filepath.Join(c.overlay.Merged, path))
	}
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
