// Package criu speaks to CRIU: a dump over its RPC, its statistics, its log, its configuration file.
package criu

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"

	"reprise.dev/engine/internal/nodefiles"
)

// A statistics file: two magic numbers, a length, a stats_entry (criu/images/stats.proto).
const (
	magicService = 0x55105940
	magicStats   = 0x57093306
)

var errStats = errors.New("not a CRIU statistics file")

// DumpStats reads stats-dump in a folder.
func DumpStats(dir string) (nodefiles.DumpStats, error) {
	var s nodefiles.DumpStats
	err := stats(filepath.Join(dir, "stats-dump"), 1, map[int]*uint64{
		1: &s.FreezingTimeUS, 2: &s.FrozenTimeUS, 3: &s.MemdumpTimeUS, 4: &s.MemwriteTimeUS,
		5: &s.PagesScanned, 6: &s.PagesSkippedParent, 7: &s.PagesWritten,
	})
	return s, err
}

// RestoreStats reads stats-restore in a folder.
func RestoreStats(dir string) (nodefiles.RestoreStats, error) {
	var s nodefiles.RestoreStats
	err := stats(filepath.Join(dir, "stats-restore"), 2, map[int]*uint64{
		1: &s.PagesCompared, 2: &s.PagesSkippedCow, 3: &s.ForkingTimeUS, 4: &s.RestoreTimeUS, 5: &s.PagesRestored,
	})
	return s, err
}

func stats(path string, entry int, fields map[int]*uint64) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if len(raw) < 12 || binary.LittleEndian.Uint32(raw) != magicService || binary.LittleEndian.Uint32(raw[4:]) != magicStats {
		return errStats
	}
	length := binary.LittleEndian.Uint32(raw[8:])
	if uint64(length) > uint64(len(raw)-12) {
		return errStats
	}
	whole := decode(raw[12:12+length], nil, func(field int, value []byte) {
		if field == entry {
			decode(value, func(field int, value uint64) {
				if into, ok := fields[field]; ok {
					*into = value
				}
			}, nil)
		}
	})
	if !whole {
		return errStats
	}
	return nil
}
