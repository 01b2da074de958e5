package main

import (
	"debug/elf"
	"debug/gosym"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"reprise.dev/engine/internal/nodefiles"
)

// The test binary is also the fake runc: called by the name "runc" it records how it was called.
func TestMain(m *testing.M) {
	if os.Args[0] == "runc" {
		fakeRunc()
		return
	}
	os.Exit(m.Run())
}

type record struct {
	Args, Env []string
	Fds       []string
	Stdin     string
	Environ   string // as it came; os.Environ leaves out what is there twice
}

func fakeRunc() {
	var r record
	for _, arg := range os.Args {
		r.Args = append(r.Args, strconv.QuoteToASCII(arg)) // JSON would not keep every byte
	}
	r.Env = os.Environ()
	environ, _ := os.ReadFile("/proc/self/environ")
	r.Environ = string(environ)
	for fd := range 8 {
		if target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err == nil && fd != 0 && !strings.HasPrefix(target, "anon_inode:") {
			r.Fds = append(r.Fds, fmt.Sprint(fd, " ", target))
		}
	}
	buffer := make([]byte, 100)
	n, _ := os.Stdin.Read(buffer)
	r.Stdin = string(buffer[:n])
	raw, _ := json.Marshal(r)
	os.WriteFile(os.Getenv("RECORD"), raw, 0o600)
	fmt.Print("runc's output")
	os.Exit(7)
}

type bench struct {
	t                      *testing.T
	dir, engine, recording string
	store                  nodefiles.Store
}

func setUp(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir()}
	b.engine, b.recording = filepath.Join(b.dir, "reprise-runc"), filepath.Join(b.dir, "record")
	config := filepath.Join(b.dir, "engine.json")
	self, _ := os.Executable()
	raw, _ := json.Marshal(map[string]string{"runc": self, "run_dir": b.dir + "/run", "state_dir": b.dir + "/state"})
	os.WriteFile(config, raw, 0o600)
	build := exec.Command("../../build.sh", b.engine, "-X reprise.dev/engine/internal/entry.ConfigPath="+config)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	b.store, _ = nodefiles.Open(config)
	return b
}

func (b *bench) call(args ...string) (record, string, int) {
	b.t.Helper()
	os.Remove(b.recording)
	extra, _ := os.Open(os.DevNull)
	defer extra.Close()
	cmd := exec.Command(b.engine, args...)
	cmd.Env = []string{"RECORD=" + b.recording, "A=1", "ODD=\x01 =", "_OCI_SYNCPIPE=3"}
	cmd.Stdin = strings.NewReader("to runc")
	cmd.ExtraFiles = []*os.File{extra, extra}
	cmd.Dir = b.dir
	out, _ := cmd.CombinedOutput()
	var r record
	if raw, err := os.ReadFile(b.recording); err == nil {
		json.Unmarshal(raw, &r)
		for i, quoted := range r.Args {
			r.Args[i], _ = strconv.Unquote(quoted)
		}
	}
	sort.Strings(cmd.Env)
	sort.Strings(r.Env)
	if r.Args != nil && !reflect.DeepEqual(r.Env, cmd.Env) {
		b.t.Errorf("environment %q, want %q", r.Env, cmd.Env)
	}
	return r, string(out), cmd.ProcessState.ExitCode()
}

func (b *bench) bundle(kind string) string {
	b.t.Helper()
	dir := b.t.TempDir()
	raw, _ := json.Marshal(map[string]any{
		"root": map[string]string{"path": "rootfs"},
		"annotations": map[string]string{
			"io.kubernetes.cri.container-type": kind, "io.kubernetes.cri.sandbox-uid": "u1",
			"io.kubernetes.cri.sandbox-namespace": "shop", "io.kubernetes.cri.sandbox-name": "cart-0",
			"io.kubernetes.cri.container-name": "app",
		},
	})
	os.WriteFile(dir+"/config.json", raw, 0o644)
	return dir
}

func (b *bench) pod(containers string) {
	nodefiles.WriteRaw(b.store.Path("pods", "u1.json"), []byte(`{"version": 1, "containers": `+containers+`}`))
}

func (b *bench) agent(heartbeat, renewed float64) {
	now := nodefiles.Boottime()
	at := now - renewed
	nodefiles.Write(b.store.Path("node.json"), nodefiles.Node{
		Version: 1, BootID: nodefiles.BootID(), TTLS: 3, RenewedAtS: &at, HeartbeatAtS: now - heartbeat,
	})
}

func TestEveryForeignCallReachesRuncByteForByte(t *testing.T) {
	b := setUp(t)
	workload, sandbox := b.bundle("container"), b.bundle("sandbox")
	for _, args := range [][]string{
		{}, {"--version"}, {"-v"}, {"--help"}, {"features"}, {"spec"}, {"list", "-q"}, {"--root"}, {"no-such-command", "a b", ""},
		{"--root", "/r", "--log", "/dev/null", "--log-format", "json", "--systemd-cgroup", "create", "--bundle", workload, "--pid-file", "p", "c1"},
		{"create", "--bundle", sandbox, "c1"}, {"create", "-b=" + workload, "c1"}, {"create", "c1"}, {"create"},
		{"create", "--bundle", "/nonexistent", "c1"}, {"create", "--bundle", workload, "../c1"},
		{"start", "c1"}, {"state", "c1"}, {"kill", "--all", "c1", "9"}, {"delete", "--force", "c1"}, {"delete"},
		{"pause", "c1"}, {"resume", "c1"}, {"checkpoint", "--help"}, {"checkpoint", "--image-path", "i", "--leave-running", "c1"},
		{"exec", "--process", "p.json", "--detach", "c1"}, {"exec", "c1", "--", "create", "-b", "x"}, {"update", "--resources", "-", "c1"},
		{"run", "--bundle", workload, "c1"}, {"restore", "--bundle", workload, "c1"}, {"events", "--stats", "c1"}, {"ps", "c1"},
		{"--odd", "\xff\xfe", "état"},
	} {
		r, out, code := b.call(args...)
		if !reflect.DeepEqual(r.Args, append([]string{"runc"}, args...)) {
			t.Errorf("%q reached runc as %q (%s)", args, r.Args, out)
		}
		if code != 7 || out != "runc's output" || r.Stdin != "to runc" {
			t.Errorf("%q: exit code %d, output %q, stdin %q", args, code, out, r.Stdin)
		}
		if len(r.Fds) != 4 || r.Fds[2] != "3 /dev/null" || r.Fds[3] != "4 /dev/null" {
			t.Errorf("%q: descriptors %q", args, r.Fds)
		}
	}
}

// start calls the engine with words that exec.Cmd would change, and reports whether Go was started on the way to runc: Go passes
// on once what the environment holds twice.
func (b *bench) start(argv ...string) (r record, goStarted bool, code int) {
	b.t.Helper()
	os.Remove(b.recording)
	null, _ := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	defer null.Close()
	process, err := os.StartProcess(b.engine, argv, &os.ProcAttr{
		Dir: b.dir, Env: []string{"RECORD=" + b.recording, "TWICE=1", "TWICE=2"}, Files: []*os.File{null, null, null},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	state, _ := process.Wait()
	if raw, err := os.ReadFile(b.recording); err == nil {
		json.Unmarshal(raw, &r)
		for i, quoted := range r.Args {
			r.Args[i], _ = strconv.Unquote(quoted)
		}
	}
	return r, !strings.Contains(r.Environ, "TWICE=2"), state.ExitCode()
}

func TestAnUnprotectedContainerStartsGoOnlyInRunc(t *testing.T) {
	b := setUp(t)
	b.pod("{}")
	workload := b.bundle("container")
	root := t.TempDir()
	os.Mkdir(root+"/c1", 0o700)
	state := `{"id": "c1", "config": {"labels": ["io.kubernetes.cri.container-type=container", "io.kubernetes.cri.sandbox-uid=u1"]}}`
	os.WriteFile(root+"/c1/state.json", []byte(state), 0o600)
	for _, args := range [][]string{
		{"--root", root, "create", "--bundle", workload, "c1"}, {"--root", root, "state", "c1"}, {"start", "c1"}, {"kill", "c1", "9"},
		{"delete", "--force", "c1"}, {"exec", "--process", "p.json", "c1"}, {"--version"}, {}, {"--odd", "\xff\xfe", "", "état", strings.Repeat("x", 100_000)},
	} {
		r, goStarted, code := b.start(append([]string{"/opt/reprise/bin/reprise-runc"}, args...)...)
		if !reflect.DeepEqual(r.Args, append([]string{"runc"}, args...)) || code != 7 || goStarted {
			t.Errorf("%.200q reached runc as %.200q (%d), Go was started: %v", args, r.Args, code, goStarted)
		}
	}
	b.pod(`{"sidecar": {"verdict": "refuse"}}`)
	if r, goStarted, _ := b.start("/r", "create", "--bundle", workload, "c1"); r.Args == nil || !goStarted {
		t.Errorf("a pod with a protected container: reached runc as %q, Go was started: %v", r.Args, goStarted)
	}
}

func TestACallWithoutWordsReachesRunc(t *testing.T) {
	b := setUp(t)
	for _, argv := range [][]string{{}, {""}, {"", "", ""}} {
		want := append([]string{"runc"}, argv[min(1, len(argv)):]...)
		if r, _, code := b.start(argv...); !reflect.DeepEqual(r.Args, want) || code != 7 {
			t.Errorf("%q reached runc as %q (%d)", argv, r.Args, code)
		}
	}
}

func TestWithoutRuncTheEngineSaysSo(t *testing.T) {
	b := setUp(t)
	os.WriteFile(b.dir+"/engine.json", []byte(`{"runc": "/nonexistent/runc"}`), 0o600)
	for _, args := range [][]string{{"--log", b.dir + "/log", "create", "c1"}, {"--log", b.dir + "/log", "list"}} {
		_, out, code := b.call(args...)
		log, _ := os.ReadFile(b.dir + "/log")
		if code != 1 || !strings.Contains(out, "/nonexistent/runc: no such file") || !strings.Contains(string(log), "/nonexistent/runc") {
			t.Errorf("%q: %d %q %q", args, code, out, log)
		}
	}
}

func TestAConfigurationThatCannotBeReadIsReported(t *testing.T) {
	b := setUp(t)
	config := b.dir + "/engine.json"
	raw, _ := os.ReadFile(config)
	os.WriteFile(config, append(raw[:len(raw)-1], []byte(`, "criu": 5}`)...), 0o600)
	if r, _, _ := b.call("create", "c1"); r.Args == nil {
		t.Error("a configuration that is partly wrong keeps a container from starting")
	}
	log, _ := os.ReadFile(b.store.Path("engine.log"))
	if !strings.Contains(string(log), "engine.json") {
		t.Errorf("the log says %q", log)
	}
}

// The binary that nodes get is build.sh's.
func TestTheKernelEntersTheEngineBeforeGo(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		binary := filepath.Join(t.TempDir(), "reprise-runc")
		build := exec.Command("../../build.sh", binary)
		build.Env = append(os.Environ(), "GOARCH="+arch)
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		file, err := elf.Open(binary)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		lines, err := file.Section(".gopclntab").Data()
		if err != nil {
			t.Fatal(err)
		}
		functions, err := gosym.NewTable(nil, gosym.NewLineTable(lines, file.Section(".text").Addr))
		if err != nil {
			t.Fatal(err)
		}
		if at := functions.PCToFunc(file.Entry); at == nil || at.Name != "reprise_entry" {
			t.Errorf("%s: the kernel enters at %v", arch, at)
		}
	}
}

func TestProtectedStartsFollowTheAgentsWord(t *testing.T) {
	b := setUp(t)
	bundle := b.bundle("container")
	for name, c := range map[string]struct {
		heartbeat, renewed float64
		pod                string
		starts             bool
		says               string
	}{
		"blank":                            {0, 0, `{"app": {"verdict": "blank", "reason": "a rollout"}}`, true, "a rollout"},
		"restore without a checkpoint":     {0, 0, `{"app": {"verdict": "restore", "slots": ["shop/u1"]}}`, true, "there is no checkpoint"},
		"refuse":                           {0, 0, `{"app": {"verdict": "refuse", "reason": "restored on n2"}}`, false, "restored on n2"},
		"no lease":                         {0, 4, `{"app": {"verdict": "blank"}}`, false, "lease"},
		"a pinned one that is not there":   {0, 0, `{"app": {"verdict": "restore", "slots": ["shop/u1"], "checkpoint_id": "k"}}`, false, "k"},
		"frozen without a checkpoint":      {0, 0, `{"app": {"verdict": "restore", "slots": ["shop/u1"], "frozen": true}}`, false, "not on this node"},
		"the agent is dead, no lease":      {6, 60, `{"app": {"verdict": "blank"}}`, true, ""},
		"the agent is dead, and refused":   {6, 0, `{"app": {"verdict": "refuse", "reason": "fenced"}}`, false, "fenced"},
		"not protected":                    {0, 60, `{"sidecar": {"verdict": "refuse"}}`, true, ""},
		"not protected, the agent is dead": {60, 60, `{}`, true, ""},
	} {
		b.agent(c.heartbeat, c.renewed)
		b.pod(c.pod)
		args := []string{"--log", b.dir + "/log", "--log-format", "json", "create", "--bundle", bundle, "c1"}
		os.Remove(b.dir + "/log")
		r, out, code := b.call(args...)
		if started := r.Args != nil; started != c.starts || (started && (code != 7 || !reflect.DeepEqual(r.Args[1:], args))) {
			t.Errorf("%s: reached runc as %q, exit code %d, %s", name, r.Args, code, out)
		}
		log, _ := os.ReadFile(b.dir + "/log")
		var line struct{ Level, Msg, Time string }
		if !c.starts && (code != 1 || !strings.Contains(out, c.says) || json.Unmarshal(log, &line) != nil || line.Level != "error" || !strings.Contains(line.Msg, c.says)) {
			t.Errorf("%s: exit code %d, stderr %q, log %q", name, code, out, log)
		}
		start, _ := os.ReadFile(b.store.Path("starts", "c1.json"))
		if c.says != "" && !strings.Contains(string(start), c.says) {
			t.Errorf("%s: start %s", name, start)
		}
		b.call("delete", "c1")
		if _, err := os.Stat(b.store.Path("starts", "c1.json")); err == nil {
			t.Errorf("%s: the start is still there after delete", name)
		}
	}
}

func TestTheAgentsWordIsAwaited(t *testing.T) {
	b := setUp(t)
	bundle := b.bundle("container")
	b.agent(0, 0)
	b.pod(`{"app": {"verdict": "wait", "reason": "staging"}}`)
	go func() {
		time.Sleep(300 * time.Millisecond)
		b.pod(`{"app": {"verdict": "blank"}}`)
	}()
	began := time.Now()
	if r, out, _ := b.call("create", "--bundle", bundle, "c1"); r.Args == nil || time.Since(began) < 300*time.Millisecond || time.Since(began) > 3*time.Second {
		t.Errorf("after %v: %q %s", time.Since(began), r.Args, out)
	}
}

func TestPauseAndResumeAreTheEnginesWhileARequestIsInForce(t *testing.T) {
	b := setUp(t)
	put := func(expires float64) {
		nodefiles.Write(b.store.Path("requests", "c1.json"), nodefiles.Request{
			Version: 1, CheckpointID: "k", Slots: "shop/u1", ExpiresAtS: expires,
		})
	}
	for _, command := range []string{"pause", "resume"} {
		put(nodefiles.Boottime() + 60)
		if r, out, code := b.call(command, "c1"); r.Args != nil || code != 0 || out != "" {
			t.Errorf("%s: %q %d %s", command, r.Args, code, out)
		}
		put(nodefiles.Boottime() - 1)
		if r, _, _ := b.call(command, "c1"); r.Args == nil {
			t.Errorf("%s with an expired request does not reach runc", command)
		}
	}
	// A dump that the kubelet does not make is runc's in any case.
	put(nodefiles.Boottime() + 60)
	for _, args := range [][]string{{"checkpoint", "c1"}, {"checkpoint", "--leave-running", "--pre-dump", "c1"}} {
		if r, _, _ := b.call(args...); r.Args == nil {
			t.Errorf("%q does not reach runc", args)
		}
	}
	// A checkpoint of something that runc does not know fails, and says so in dumps/.
	_, out, code := b.call("--root", b.dir, "checkpoint", "--leave-running", "c1")
	dump, _ := os.ReadFile(b.store.Path("dumps", "c1.json"))
	if code != 1 || !strings.Contains(out, "checkpoint failed") || !strings.Contains(string(dump), `"outcome":"failed"`) {
		t.Errorf("%d %s %s", code, out, dump)
	}
}
