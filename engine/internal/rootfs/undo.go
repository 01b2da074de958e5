package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Undo remembers how a root file system was before a checkpoint's changes were put into it.
type Undo struct {
	root  string
	aside string // a folder in the root's own file system, for what was in the way
	count int
	steps []func() error // each takes one change back
}

// Revert takes every change back, last first.
func (u *Undo) Revert() error {
	var failed []error
	for i := len(u.steps) - 1; i >= 0; i-- {
		if err := u.steps[i](); err != nil {
			failed = append(failed, err)
		}
	}
	u.steps = nil
	return errors.Join(append(failed, u.Done())...)
}

// Done forgets what was moved aside.
func (u *Undo) Done() error {
	u.steps = nil
	if u.aside == "" {
		return nil
	}
	return os.RemoveAll(u.aside)
}

func (u *Undo) created(path string) {
	u.step(path, func(p place) error { return os.RemoveAll(p.path()) })
}

// step remembers how to take back a change at a path, which is reached again then.
func (u *Undo) step(path string, back func(place) error) {
	u.steps = append(u.steps, func() error {
		p, err := reach(u.root, path, nil)
		if err != nil {
			return err
		}
		defer p.close()
		return back(p)
	})
}

// moveAside makes room at a path and remembers what was there.
func (u *Undo) moveAside(p place, path string) error {
	info, err := os.Lstat(p.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if u.aside == "" {
		if u.aside, err = os.MkdirTemp(u.root, ".reprise-undo-"); err != nil {
			return err
		}
	}
	u.count++
	kept := filepath.Join(u.aside, strconv.Itoa(u.count))
	if err := move(p.path(), kept, info); err != nil {
		return err
	}
	u.step(path, func(p place) error { return move(kept, p.path(), info) })
	return nil
}

// move renames. A folder of an overlay's lower layer cannot be renamed (EXDEV): its entries are moved one by one.
func move(from, to string, info os.FileInfo) error {
	err := os.Rename(from, to)
	if err == nil || !errors.Is(err, syscall.EXDEV) || !info.IsDir() {
		return err
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		child, err := entry.Info()
		if err != nil {
			return err
		}
		if err := move(filepath.Join(from, entry.Name()), filepath.Join(to, entry.Name()), child); err != nil {
			return err
		}
	}
	if err := dress(to, info); err != nil {
		return err
	}
	return os.Remove(from)
}

// dress gives a folder the owner, mode and time that another had.
func dress(path string, info os.FileInfo) error {
	stat := info.Sys().(*syscall.Stat_t)
	if err := os.Lchown(path, int(stat.Uid), int(stat.Gid)); err != nil {
		return err
	}
	if err := os.Chmod(path, info.Mode()); err != nil {
		return err
	}
	return os.Chtimes(path, time.Time{}, info.ModTime())
}

// changes remembers a folder's owner, mode and time before they are changed.
func (u *Undo) changes(p place, path string) error {
	info, err := os.Lstat(p.path())
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder", path)
	}
	u.step(path, func(p place) error { return dress(p.path(), info) })
	return nil
}
