package rootfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// A place is an entry of a folder that was reached without following a symlink: nothing that a container
// left in its image or its checkpoint can lead out of its root.
type place struct {
	dir  *os.File
	name string
}

// path names the entry by the open folder. Its last component is never followed by the calls made on it.
func (p place) path() string { return fmt.Sprintf("/proc/self/fd/%d/%s", p.dir.Fd(), p.name) }

func (p place) close() { p.dir.Close() }

// split checks a path of an archive and returns its components.
func split(path string) ([]string, error) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for _, part := range parts {
		if part == "" || part == "." || part == ".." || strings.ContainsRune(part, 0) {
			return nil, fmt.Errorf("unsafe path %q", path)
		}
	}
	return parts, nil
}

const folderFlags = syscall.O_DIRECTORY | syscall.O_NOFOLLOW | syscall.O_CLOEXEC | syscall.O_RDONLY

// reach opens the folder that holds path, component by component. missing is called for a folder that is
// not there and may make it.
func reach(root, path string, missing func(place) error) (place, error) {
	parts, err := split(path)
	if err != nil {
		return place{}, err
	}
	fd, err := syscall.Open(root, syscall.O_DIRECTORY|syscall.O_CLOEXEC|syscall.O_RDONLY, 0)
	if err != nil {
		return place{}, &os.PathError{Op: "open", Path: root, Err: err}
	}
	dir := os.NewFile(uintptr(fd), root)
	for i, part := range parts[:len(parts)-1] {
		next, err := syscall.Openat(int(dir.Fd()), part, folderFlags, 0)
		if err == syscall.ENOENT && missing != nil {
			if err := missing(place{dir, part}); err != nil {
				dir.Close()
				return place{}, err
			}
			next, err = syscall.Openat(int(dir.Fd()), part, folderFlags, 0)
		}
		dir.Close()
		if err != nil {
			return place{}, &os.PathError{Op: "open", Path: filepath.Join(append([]string{root}, parts[:i+1]...)...), Err: err}
		}
		dir = os.NewFile(uintptr(next), part)
	}
	return place{dir, parts[len(parts)-1]}, nil
}
