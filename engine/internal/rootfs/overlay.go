// Package rootfs captures what a container changed in its root file system, and puts it back.
package rootfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"reprise.dev/engine/internal/runc"
)

// Overlay is a mounted overlay file system.
type Overlay struct {
	Merged string   // where it is mounted
	Upper  string   // what the container changed
	Lowers []string // the image, topmost first
}

// Find returns the overlay that is mounted at root.
func Find(root string) (Overlay, error) {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return Overlay{}, err
	}
	return find(string(raw), root)
}

func find(mountinfo, root string) (Overlay, error) {
	options, found := "", false
	for _, line := range strings.Split(mountinfo, "\n") {
		before, after, _ := strings.Cut(line, " - ")
		fields, tail := strings.Fields(before), strings.Fields(after)
		if len(fields) > 4 && len(tail) > 2 && runc.Unescape(fields[4]) == root {
			found = tail[0] == "overlay" // the last one mounted there counts
			options = runc.Unescape(tail[2])
		}
	}
	if !found {
		return Overlay{}, fmt.Errorf("the root file system %s is not an overlay: its changes cannot be captured", root)
	}
	overlay := Overlay{Merged: root}
	for _, option := range splitEscaped(options, ',') {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "upperdir":
			overlay.Upper = unquote(value)
		case "lowerdir":
			for _, lower := range splitEscaped(value, ':') {
				overlay.Lowers = append(overlay.Lowers, unquote(lower))
			}
		case "lowerdir+": // the form of the new mount API: one option per layer
			overlay.Lowers = append(overlay.Lowers, unquote(value))
		}
	}
	if overlay.Upper == "" {
		return overlay, fmt.Errorf("the overlay at %s has no upperdir", root)
	}
	// containers/storage mounts from inside its own folder when the options are long: .../overlay/<id>/merged.
	storage := filepath.Dir(filepath.Dir(root))
	overlay.Upper = absolute(storage, overlay.Upper)
	for i, lower := range overlay.Lowers {
		overlay.Lowers[i] = absolute(storage, lower)
	}
	if info, err := os.Stat(overlay.Upper); err != nil || !info.IsDir() {
		return overlay, fmt.Errorf("the overlay at %s has its upperdir at %s, which is not here", root, overlay.Upper)
	}
	return overlay, nil
}

func absolute(base, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(base, path)
}

// splitEscaped splits at separators that no backslash escapes.
func splitEscaped(s string, separator byte) []string {
	var parts []string
	start := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case separator:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}

func unquote(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

// isWhiteout reports whether an entry of a layer says that the path is deleted: a character device 0:0.
func isWhiteout(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode()&os.ModeCharDevice != 0 && stat.Rdev == 0
}

// isOpaque reports whether a folder of a layer hides what is below it. A renamed folder does too.
func isOpaque(path string) bool {
	for _, prefix := range []string{"trusted.overlay.", "user.overlay."} {
		var value [1]byte
		if n, err := syscall.Getxattr(path, prefix+"opaque", value[:]); err == nil && n == 1 && value[0] == 'y' {
			return true
		}
	}
	return isRedirected(path)
}

func isRedirected(path string) bool {
	for _, prefix := range []string{"trusted.overlay.", "user.overlay."} {
		if n, err := syscall.Getxattr(path, prefix+"redirect", nil); err == nil && n > 0 {
			return true
		}
	}
	return false
}

// lower returns what the image has at a path, or nil.
func (o Overlay) lower(path string) os.FileInfo {
	for _, layer := range o.Lowers {
		info, stop := lookup(layer, path)
		if info != nil || stop {
			return info
		}
	}
	return nil
}

// lookup finds a path in one layer; stop means that the layers below do not count.
func lookup(layer, path string) (info os.FileInfo, stop bool) {
	parts := strings.Split(path, "/")
	at := layer
	for i, part := range parts {
		at = filepath.Join(at, part)
		info, err := os.Lstat(at)
		if err != nil {
			return nil, stop
		}
		if isWhiteout(info) {
			return nil, true
		}
		if i == len(parts)-1 {
			return info, true
		}
		if !info.IsDir() {
			return nil, true
		}
		stop = stop || isOpaque(at)
	}
	return nil, stop
}

// lowerNames lists what the image has in a folder.
func (o Overlay) lowerNames(path string) []string {
	seen := map[string]bool{}
	var names []string
	for _, layer := range o.Lowers {
		dir := filepath.Join(layer, path)
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if !seen[e.Name()] {
				seen[e.Name()] = true
				if o.lower(filepath.Join(path, e.Name())) != nil {
					names = append(names, e.Name())
				}
			}
		}
	}
	return names
}
