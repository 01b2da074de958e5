package criu

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func statsFile(entry int, values map[int]uint64) []byte {
	var inner, outer message
	for field, value := range values {
		inner.varint(field, value)
	}
	outer.bytes(entry, inner)
	raw := binary.LittleEndian.AppendUint32(nil, magicService)
	raw = binary.LittleEndian.AppendUint32(raw, magicStats)
	raw = binary.LittleEndian.AppendUint32(raw, uint32(len(outer)))
	return append(raw, outer...)
}

func TestStatisticsAreRead(t *testing.T) {
	path := write(t, "stats-dump", statsFile(1, map[int]uint64{1: 10, 2: 70000, 3: 30, 4: 40, 5: 50, 6: 60, 7: 1 << 40, 99: 1}))
	dump, err := DumpStats(filepath.Dir(path))
	if err != nil || dump.FrozenTimeUS != 70000 || dump.PagesWritten != 1<<40 || dump.PagesSkippedParent != 60 {
		t.Errorf("%+v %v", dump, err)
	}
	path = write(t, "stats-restore", statsFile(2, map[int]uint64{1: 1, 2: 2, 3: 3, 4: 4, 5: 5}))
	restore, err := RestoreStats(filepath.Dir(path))
	if err != nil || restore.PagesCompared != 1 || restore.ForkingTimeUS != 3 || restore.RestoreTimeUS != 4 || restore.PagesRestored != 5 {
		t.Errorf("%+v %v", restore, err)
	}
}

func TestADamagedStatisticsFileIsAnError(t *testing.T) {
	good := statsFile(1, map[int]uint64{1: 10, 2: 300})
	for n := range len(good) {
		if _, err := DumpStats(filepath.Dir(write(t, "stats-dump", good[:n]))); err == nil {
			t.Errorf("the first %d bytes are a file", n)
		}
	}
}

func TestTheCauseIsTheFirstErrorThatExplainsTheOthers(t *testing.T) {
	for name, c := range map[string][2]string{
		"a grown file": {`(00.010000) Warn  (criu/x.c:1): nothing
(00.036241)      1: Error (criu/files-reg.c:2223): File data/wal has bad size 122880 (expect 1355776)
(00.036300)      1: Error (criu/files.c:1213): Unable to open fd=3 id=0x4
(00.040000) Error (criu/cr-restore.c:1480): 2222 exited, status=1
(00.041000) Error (criu/cr-restore.c:2447): Restoring FAILED.`, "File data/wal has bad size 122880 (expect 1355776)"},
		"secondary first": {`(00.040000) Error (criu/cr-restore.c:1480): 2222 exited, status=1
(00.036241)      1: Error (criu/sk-inet.c:1): In-flight connection (l) for 123`, "In-flight connection (l) for 123"},
		"only secondary": {`(00.041000) Error (criu/cr-restore.c:2447): Restoring FAILED.`, "Restoring FAILED."},
		"none":           {`(00.1) all well`, ""},
	} {
		if got := Cause(write(t, "restore.log", []byte(c[0]))); got != c[1] {
			t.Errorf("%s: %q, want %q", name, got, c[1])
		}
	}
	if Cause("/nonexistent") != "" {
		t.Error("a missing log has no cause")
	}
}

func TestEveryErrorThatExplainsIsToldInItsOrder(t *testing.T) {
	log := write(t, "dump.log", []byte(`(00.1) pie: 53: Error (criu/pie/parasite.c:4): send_fds failed (-22)
(00.2) Error (criu/cr-dump.c:1): Dumping FAILED.
(00.3) Error (criu/files.c:9): Can't dump file 3 of that type [0] (anon anon_inode:[io_uring])`))
	want := "send_fds failed (-22)\nCan't dump file 3 of that type [0] (anon anon_inode:[io_uring])"
	if got := Errors(log); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestAnswersAreParsed(t *testing.T) {
	var notify, m message
	notify.text(1, "pre-dump")
	notify.varint(2, 77)
	m.varint(1, typeNotify)
	m.flag(2, true)
	m.bytes(5, notify)
	if r := parse(m); r.kind != typeNotify || !r.success || r.script != "pre-dump" {
		t.Errorf("%+v", r)
	}
	m = nil
	m.varint(1, typeDump)
	m.flag(2, false)
	m.varint(7, 3)
	m.text(9, "no")
	if r := parse(m); r.success || r.errno != 3 || r.message != "no" {
		t.Errorf("%+v", r)
	}
}

func TestAPagesFileThatWasCutShortIsFound(t *testing.T) {
	entry := func(fields map[int]uint64) []byte {
		var m message
		for field, value := range fields {
			m.varint(field, value)
		}
		return append(binary.LittleEndian.AppendUint32(nil, uint32(len(m))), m...)
	}
	raw := binary.LittleEndian.AppendUint32(nil, magicImage)
	raw = binary.LittleEndian.AppendUint32(raw, magicPagemap)
	raw = append(raw, entry(map[int]uint64{1: 7})...)
	raw = append(raw, entry(map[int]uint64{1: 0x1000, 2: 2, 4: pagePresent})...)
	raw = append(raw, entry(map[int]uint64{1: 0x9000, 2: 0, 4: pagePresent, 5: 3})...)
	raw = append(raw, entry(map[int]uint64{1: 0x99000, 2: 50, 4: 1})...) // in the parent: not in this file
	dir := t.TempDir()
	pages := filepath.Join(dir, "pages-7.img")
	os.WriteFile(filepath.Join(dir, "pagemap-1.img"), raw, 0o600)
	if CheckPages(dir) == nil {
		t.Error("a missing pages file is whole")
	}
	size := 5 * os.Getpagesize()
	os.WriteFile(pages, make([]byte, size), 0o600)
	if err := CheckPages(dir); err != nil {
		t.Error(err)
	}
	os.Truncate(pages, int64(size-1))
	if CheckPages(dir) == nil {
		t.Error("a file that was cut short is whole")
	}
	os.WriteFile(filepath.Join(dir, "pagemap-1.img"), raw[:len(raw)-1], 0o600)
	if CheckPages(dir) == nil {
		t.Error("a pagemap that was cut short is whole")
	}
}
