package nodefiles

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func store(t *testing.T) (Store, *[]string) {
	t.Helper()
	warned := &[]string{}
	s, err := Open(filepath.Join(t.TempDir(), "none.json"))
	if err != nil {
		t.Fatal(err)
	}
	s.RunDir = t.TempDir()
	s.Warn = func(format string, args ...any) { *warned = append(*warned, format) }
	return s, warned
}

func TestAMissingConfigurationHasTheDefaults(t *testing.T) {
	s, err := Open("/nonexistent/engine.json")
	if err != nil || s.Runc != "/usr/bin/runc" || s.RunDir != "/run/reprise" || s.StateDir != "/var/lib/reprise" {
		t.Fatalf("%+v %v", s.Config, err)
	}
	if strings.Join(s.Criu.Config, " ") != "skip-in-flight file-locks" {
		t.Fatalf("%q", s.Criu.Config)
	}
}

func TestAFileThatCannotBeParsedIsAbsentAndReported(t *testing.T) {
	for _, content := range []string{"{", `{"version": 2, "uid": "u"}`, `{"uid": "u"}`, `{"version": 1, "containers": []}`} {
		s, warned := store(t)
		if err := WriteRaw(s.Path("pods", "u.json"), []byte(content)); err != nil {
			t.Fatal(err)
		}
		if s.Pod("u") != nil || len(*warned) != 1 {
			t.Errorf("%s: %v, warned %q", content, s.Pod("u"), *warned)
		}
	}
}

func TestUnknownFieldsAreIgnored(t *testing.T) {
	s, _ := store(t)
	WriteRaw(s.Path("pods", "u.json"), []byte(`{"version": 1, "new": 1, "containers": {"app": {"verdict": "restore", "x": 2}}}`))
	if pod := s.Pod("u"); pod == nil || pod.Containers["app"].Verdict != "restore" {
		t.Fatalf("%+v", pod)
	}
}

func TestARequestIsInForceUntilItExpires(t *testing.T) {
	s, _ := store(t)
	put := func(r Request) { r.Version = 1; Write(s.Path("requests", "c.json"), r) }
	put(Request{CheckpointID: "k", Slots: "ns/u", ExpiresAtS: Boottime() + 60})
	if s.Request("c") == nil {
		t.Error("in force")
	}
	put(Request{CheckpointID: "k", Slots: "ns/u", ExpiresAtS: Boottime() - 1})
	if s.Request("c") != nil {
		t.Error("expired")
	}
	for _, slots := range []string{"../u", "ns/..", "ns/u/x", "/u", "ns", ""} {
		put(Request{CheckpointID: "k", Slots: slots, ExpiresAtS: Boottime() + 60})
		if s.Request("c") != nil {
			t.Errorf("%q leaves the slots folder", slots)
		}
	}
}

func TestFilesAreWrittenWholeAndPrivate(t *testing.T) {
	s, _ := store(t)
	if err := s.PutStart(Start{ContainerID: "c", Outcome: "blank"}); err != nil {
		t.Fatal(err)
	}
	folder, _ := os.Stat(s.Path("starts"))
	file, _ := os.Stat(s.Path("starts", "c.json"))
	if folder.Mode().Perm() != 0o700 || file.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", folder.Mode(), file.Mode())
	}
	if left, _ := filepath.Glob(s.Path("starts", "*.tmp-*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	raw, _ := os.ReadFile(s.Path("starts", "c.json"))
	if !strings.Contains(string(raw), `"version":1`) || !strings.Contains(string(raw), `"attempts":[]`) {
		t.Errorf("%s", raw)
	}
}

func TestForgetRemovesWhatTheEngineWrote(t *testing.T) {
	s, _ := store(t)
	s.PutStart(Start{ContainerID: "c"})
	s.MarkRestored("c")
	WriteRaw(s.CriuConfigPath("c"), nil)
	WriteRaw(filepath.Join(s.WorkPath("c"), "restore.log"), nil)
	s.Forget("c")
	for _, p := range []string{"starts/c.json", "restored/c", "criu/c.conf", "work/c"} {
		if _, err := os.Lstat(s.Path(p)); err == nil {
			t.Errorf("%s is still there", p)
		}
	}
}

func TestTheNodesAgeIsThatOfItsFirstProcess(t *testing.T) {
	tail := " S 0 1 1 0 -1 4194560 9 8 7 6 5 4 3 2 20 0 1 0 12345 99 98"
	for _, name := range []string{"systemd", "a b", "x) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 (y"} {
		if got, err := startTime("1 (" + name + ")" + tail); got != 123.45 || err != nil {
			t.Errorf("%q: %v %v", name, got, err)
		}
	}
	for _, broken := range []string{"", "1 (init) S 0 1", "1 (init)" + strings.Replace(tail, "12345", "x", 1)} {
		if got, err := startTime(broken); err == nil {
			t.Errorf("%q: %v", broken, got)
		}
	}
	started := time.Now()
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Wait()
	defer child.Process.Kill()
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child.Process.Pid))
	at, err := startTime(string(raw))
	if age := Boottime() - at; err != nil || age < -0.02 || age > time.Since(started).Seconds()+0.02 {
		t.Errorf("a process that has just been started is %v s old: %v", age, err)
	}
}

// The test binary is also the engine that is killed while a container stands still.
func TestMain(m *testing.M) {
	if dir := os.Getenv("REPRISE_TEST_FREEZES_IN"); dir != "" {
		s := Store{Config: Config{RunDir: dir}}
		mark, err := s.MarkFreezing("c1")
		if err != nil {
			os.Exit(1)
		}
		defer mark.Close()
		os.Stdout.WriteString("frozen")
		time.Sleep(time.Hour) // not select{}: Go ends a process in which everybody waits for ever
	}
	os.Exit(m.Run())
}

func TestWhatADeadEngineFrozeIsKnown(t *testing.T) {
	s, _ := store(t)
	if s.LeftFrozen("c1") {
		t.Error("nobody froze it")
	}
	self, _ := os.Executable()
	engine := exec.Command(self)
	engine.Env = append(os.Environ(), "REPRISE_TEST_FREEZES_IN="+s.RunDir)
	out, _ := engine.StdoutPipe()
	if err := engine.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("frozen"))); err != nil {
		t.Fatal(err)
	}
	if s.LeftFrozen("c1") {
		t.Error("the engine that froze it lives")
	}
	engine.Process.Kill()
	engine.Wait()
	if !s.LeftFrozen("c1") || s.LeftFrozen("c2") {
		t.Error("the engine that froze c1 is dead")
	}
	if mark, err := s.MarkFreezing("c1"); err != nil || s.LeftFrozen("c1") {
		t.Error("the next engine takes over: ", err)
	} else {
		mark.Close()
	}
	s.Forget("c1")
	if s.LeftFrozen("c1") {
		t.Error("the container is gone")
	}
}

func TestAMarkThatTheAgentRemovesIsNotTakenForOnesOwn(t *testing.T) {
	s, _ := store(t)
	path := s.Path("freezing", "c1")
	WriteRaw(path, nil)
	agent, _ := os.Open(path) // a dead engine's, which the agent is thawing for
	syscall.Flock(int(agent.Fd()), syscall.LOCK_EX)
	go func() {
		time.Sleep(20 * time.Millisecond)
		os.Remove(path)
		agent.Close()
	}()
	mark, err := s.MarkFreezing("c1")
	if err != nil || !isAt(mark, path) {
		t.Errorf("%v", err)
	}
}

func TestAContainerHasOneCheckpointAtATime(t *testing.T) {
	s, _ := store(t)
	first, err := s.MarkFreezing("c1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.MarkFreezing("c1"); err == nil || !strings.Contains(err.Error(), "another checkpoint") {
		t.Error(err)
	}
	first.Close()
}

func TestAPodIsReleasedByAFileOfItsName(t *testing.T) {
	s, _ := store(t)
	s.StateDir = t.TempDir()
	WriteRaw(filepath.Join(s.StateDir, "released", "u1"), nil)
	if !s.Released("u1") || s.Released("u2") || s.Released("") || s.Released("../released") {
		t.Error("u1 is released, and no other")
	}
}
