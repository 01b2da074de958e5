package criu

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
)

const (
	magicImage   = 0x54564319
	magicPagemap = 0x56084025
	pagePresent  = 1 << 2
)

// CheckPages compares the sizes of CRIU's pages files with their pagemaps. CRIU reads a file that was cut short
// in a loop without end instead of refusing it.
func CheckPages(images string) error {
	maps, err := filepath.Glob(filepath.Join(images, "pagemap-*.img"))
	if err != nil {
		return err
	}
	for _, path := range maps {
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		id, pages, ok := pagemap(raw)
		if !ok {
			return fmt.Errorf("%s is damaged", filepath.Base(path))
		}
		name := fmt.Sprintf("pages-%d.img", id)
		info, err := os.Stat(filepath.Join(images, name))
		if os.IsNotExist(err) && pages == 0 {
			continue
		}
		if err != nil {
			return err
		}
		if want := int64(pages) * int64(os.Getpagesize()); info.Size() < want {
			return fmt.Errorf("%s is damaged: %d bytes of %d", name, info.Size(), want)
		}
	}
	return nil
}

// pagemap reads a pagemap image: two magic numbers, then messages with their length; the first names the pages file.
func pagemap(raw []byte) (id, pages uint64, ok bool) {
	if len(raw) < 8 || binary.LittleEndian.Uint32(raw) != magicImage || binary.LittleEndian.Uint32(raw[4:]) != magicPagemap {
		return 0, 0, false
	}
	raw = raw[8:]
	for first := true; len(raw) > 0; first = false {
		if len(raw) < 4 {
			return 0, 0, false
		}
		length := int64(binary.LittleEndian.Uint32(raw))
		if length > int64(len(raw)-4) {
			return 0, 0, false
		}
		fields := [6]uint64{}
		whole := decode(raw[4:4+length], func(field int, value uint64) {
			if field < len(fields) {
				fields[field] = value
			}
		}, nil)
		if !whole {
			return 0, 0, false
		}
		raw = raw[4+length:]
		const vaddr, compat, inParent, flags, count = 1, 2, 3, 4, 5
		if first {
			id = fields[vaddr] // pagemap_head.pages_id
			continue
		}
		n := fields[count]
		if n == 0 {
			n = fields[compat]
		}
		if fields[flags]&pagePresent != 0 || (fields[flags] == 0 && fields[inParent] == 0) {
			pages += n
		}
	}
	return id, pages, true
}
