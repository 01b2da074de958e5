// Package beneath reads a tree that its owner may change meanwhile, and never leaves it: every folder is opened from
// the one that holds it, and no symlink is followed. A path would be looked up anew by each call, and a container's
// sidecar can put a symlink to a folder of the node where a folder was.
package beneath

import (
	"fmt"
	"os"
	"sort"
	"syscall"
)

// Folder is an open folder.
type Folder struct{ file *os.File }

const folderFlags = syscall.O_RDONLY | syscall.O_DIRECTORY | syscall.O_CLOEXEC

// Open opens the root of a tree. Its own path is the node's.
func Open(root string) (Folder, error) {
	fd, err := syscall.Open(root, folderFlags, 0)
	if err != nil {
		return Folder{}, &os.PathError{Op: "open", Path: root, Err: err}
	}
	return Folder{os.NewFile(uintptr(fd), root)}, nil
}

// Close closes it.
func (f Folder) Close() { f.file.Close() }

// Path names the folder itself for calls that take a path only.
func (f Folder) Path() string { return fmt.Sprintf("/proc/self/fd/%d", f.file.Fd()) }

// Entry names an entry for calls that do not follow symlinks.
func (f Folder) Entry(name string) string { return f.Path() + "/" + name }

// Folder opens a folder in this one.
func (f Folder) Folder(name string) (Folder, error) {
	file, err := f.open(name, folderFlags)
	return Folder{file}, err
}

// Names lists the entries, sorted.
func (f Folder) Names() ([]string, error) {
	names, err := f.file.Readdirnames(-1)
	sort.Strings(names)
	return names, err
}

// Stat describes the folder itself.
func (f Folder) Stat() (os.FileInfo, error) { return f.file.Stat() }

// Lstat describes an entry.
func (f Folder) Lstat(name string) (os.FileInfo, error) { return os.Lstat(f.Entry(name)) }

// Readlink reads a symlink.
func (f Folder) Readlink(name string) (string, error) { return os.Readlink(f.Entry(name)) }

// File opens a regular file, and describes what was opened.
func (f Folder) File(name string) (*os.File, os.FileInfo, error) {
	// Not to wait at a pipe that was put in its place.
	file, err := f.open(name, syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC)
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &os.PathError{Op: "open", Path: file.Name(), Err: fmt.Errorf("not a regular file any more")}
	}
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return file, info, nil
}

func (f Folder) open(name string, flags int) (*os.File, error) {
	path := f.file.Name() + "/" + name
	for {
		fd, err := syscall.Openat(int(f.file.Fd()), name, flags|syscall.O_NOFOLLOW, 0)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		return os.NewFile(uintptr(fd), path), nil
	}
}
