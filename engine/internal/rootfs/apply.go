package rootfs

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Names in a checkpoint's folder.
const (
	DiffTar      = "rootfs-diff.tar"
	DeletedFiles = "deleted.files"
)

// Apply puts a checkpoint's changes into the root file system of a container that does not run yet.
// After an error everything is as it was.
func Apply(root, slot string) (*Undo, error) {
	undo := &Undo{root: root}
	err := deletePaths(undo, filepath.Join(slot, DeletedFiles))
	if err == nil {
		err = unpack(undo, filepath.Join(slot, DiffTar))
	}
	if err != nil {
		return nil, errors.Join(err, undo.Revert())
	}
	return undo, nil
}

func deletePaths(undo *Undo, list string) error {
	raw, err := os.ReadFile(list)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var paths []string
	if err == nil {
		err = json.Unmarshal(raw, &paths)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", DeletedFiles, err)
	}
	for _, path := range paths {
		p, err := reach(undo.root, path, nil)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		err = undo.moveAside(p, path)
		p.close()
		if err != nil {
			return err
		}
	}
	return nil
}

func unpack(undo *Undo, path string) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	archive := tar.NewReader(file)
	var folders []func() error // times of folders, once nothing is written into them any more
	for {
		header, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("%s: %w", DiffTar, err)
		}
		if strings.Trim(header.Name, "./") == "" {
			continue
		}
		if err := one(undo, header, archive); err != nil {
			return fmt.Errorf("%s: %s: %w", DiffTar, header.Name, err)
		}
		if header.Typeflag == tar.TypeDir {
			folders = append(folders, func() error { return setTime(undo.root, header) })
		}
	}
	for i := len(folders) - 1; i >= 0; i-- {
		if err := folders[i](); err != nil {
			return err
		}
	}
	return nil
}

func setTime(root string, header *tar.Header) error {
	p, err := reach(root, header.Name, nil)
	if err != nil {
		return err
	}
	defer p.close()
	return os.Chtimes(p.path(), time.Time{}, header.ModTime)
}

// one puts one entry of the tar in its place.
func one(undo *Undo, header *tar.Header, content io.Reader) error {
	p, err := reach(undo.root, header.Name, func(missing place) error { return os.Mkdir(missing.path(), 0o755) })
	if err != nil {
		return err
	}
	defer p.close()
	old, err := os.Lstat(p.path())
	if err == nil && old.IsDir() && header.Typeflag == tar.TypeDir {
		if err := undo.changes(p, header.Name); err != nil {
			return err
		}
		return finish(p, header)
	}
	if err := undo.moveAside(p, header.Name); err != nil {
		return err
	}
	undo.created(header.Name)
	if err := create(undo.root, p, header, content); err != nil {
		return err
	}
	return finish(p, header)
}

func create(root string, p place, header *tar.Header, content io.Reader) error {
	mode := uint32(header.Mode & 0o7777)
	device := int(header.Devminor&0xff | header.Devmajor<<8 | (header.Devminor&^0xff)<<12)
	switch header.Typeflag {
	case tar.TypeDir:
		return os.Mkdir(p.path(), 0o700)
	case tar.TypeReg:
		file, err := os.OpenFile(p.path(), os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(file, content)
		return errors.Join(err, file.Close())
	case tar.TypeSymlink:
		return os.Symlink(header.Linkname, p.path())
	case tar.TypeLink:
		target, err := reach(root, header.Linkname, nil)
		if err != nil {
			return err
		}
		defer target.close()
		return os.Link(target.path(), p.path())
	case tar.TypeFifo:
		return syscall.Mknod(p.path(), syscall.S_IFIFO|mode, 0)
	case tar.TypeChar:
		return syscall.Mknod(p.path(), syscall.S_IFCHR|mode, device)
	case tar.TypeBlock:
		return syscall.Mknod(p.path(), syscall.S_IFBLK|mode, device)
	}
	return fmt.Errorf("unknown type %q", header.Typeflag)
}

// finish sets owner, mode, attributes and time. The mode comes after the owner: chown drops setuid.
func finish(p place, header *tar.Header) error {
	if header.Typeflag == tar.TypeLink {
		return nil // its first name has them
	}
	if err := os.Lchown(p.path(), header.Uid, header.Gid); err != nil {
		return err
	}
	if header.Typeflag == tar.TypeSymlink {
		return nil
	}
	if err := syscall.Chmod(p.path(), uint32(header.Mode&0o7777)); err != nil {
		return err
	}
	for key, value := range header.PAXRecords {
		if name, ok := strings.CutPrefix(key, xattrPrefix); ok {
			if err := syscall.Setxattr(p.path(), name, []byte(value), 0); err != nil && err != syscall.ENOTSUP {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return os.Chtimes(p.path(), time.Time{}, header.ModTime)
}
