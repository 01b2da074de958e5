package entry

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"reprise.dev/engine/internal/bundle"
	"reprise.dev/engine/internal/cli"
	"reprise.dev/engine/internal/create"
	"reprise.dev/engine/internal/lifecycle"
	"reprise.dev/engine/internal/nodefiles"
	"reprise.dev/engine/internal/report"
)

// As the runtimes and the agent write them; what a user can set holds what would be a container's identity outside of its string.
const (
	containerd = `{"ociVersion":"1.2.1","process":{"user":{"uid":1000,"gid":0},"args":["/app","\"annotations\":{\"io.kubernetes.cri.container-type\":\"sandbox\"}"],` +
		`"env":["PATH=/bin","A={\"annotations\":{}}"],"cwd":"/","oomScoreAdj":-998,"noNewPrivileges":true},"root":{"path":"rootfs"},"mounts":[],` +
		`"annotations":{"io.kubernetes.cri.container-name":"app","io.kubernetes.cri.container-type":"container","io.kubernetes.cri.image-name":"a/b:c",` +
		`"io.kubernetes.cri.sandbox-id":"s","io.kubernetes.cri.sandbox-name":"cart-0","io.kubernetes.cri.sandbox-namespace":"shop","io.kubernetes.cri.sandbox-uid":"u1"},` +
		`"linux":{"resources":{"memory":{},"cpu":{"shares":2}},"seccomp":{"syscalls":[{"names":["a"],"args":[{"index":0,"value":8}]}]}}}`
	crio = `{"annotations":{"io.kubernetes.cri-o.Annotations":"{\"io.kubernetes.cri-o.ContainerType\":\"sandbox\"}","io.kubernetes.cri-o.ContainerType":"container",` +
		`"io.kubernetes.container.name":"app","io.kubernetes.pod.name":"cart-0","io.kubernetes.pod.namespace":"shop","io.kubernetes.pod.uid":"u1"},"linux":null}` + "\n"
	protected = `{"version":1,"namespace":"shop","pod":"cart-0","uid":"u1","workload":null,"containers":{"app":{"verdict":"refuse","reason":"fenced"}}}`
)

// unprotected is what the agent writes (packages/runtime/tests/test_nodefiles.py).
//
//go:embed testdata/unprotected.json
var unprotected string

// node is a node's files, and both ways to decide from them.
type node struct {
	t    testing.TB
	dir  string
	read *memory
}

func newNode(t testing.TB) *node {
	n := &node{t: t, dir: t.TempDir(), read: new(memory)}
	for _, folder := range []string{"run/pods", "run/restored", "run/starts", "run/freezing", "bundle", "runc/c1"} {
		os.MkdirAll(filepath.Join(n.dir, folder), 0o700)
	}
	n.put("engine.json", fmt.Sprintf(`{"version": 1, "runc": "/bin/runc", "run_dir": "%s/run", "state_dir": "%s/state"}`, n.dir, n.dir))
	n.put("run/pods/u1.json", unprotected)
	n.container(containerd)
	return n
}

func (n *node) put(name, content string) {
	path := filepath.Join(n.dir, name)
	os.Remove(path) // a disk is slow to write a file again
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// container is the same one for create and for state, whose labels are the annotations.
func (n *node) container(config string) {
	n.put("bundle/config.json", config)
	n.put("runc/c1/state.json", stateOf(config))
}

func stateOf(config string) string {
	var spec bundle.Spec
	json.Unmarshal([]byte(config), &spec)
	labels := []string{}
	for name, value := range spec.Annotations {
		labels = append(labels, name+"="+value)
	}
	slices.Sort(labels)
	raw, _ := json.Marshal(map[string]any{"id": "c1", "config": map[string]any{"labels": append(labels, "bundle=/b")}, "cgroup_paths": nil})
	return string(raw)
}

func (n *node) calls() [][]string {
	return [][]string{
		{"/r", "--root", n.dir + "/runc", "create", "--bundle", n.dir + "/bundle", "c1"},
		{"/r", "--root", n.dir + "/runc", "state", "c1"}, {"/r", "start", "c1"}, {"/r", "delete", "--force", "c1"},
	}
}

func (n *node) atOnce(words ...string) bool {
	n.t.Helper()
	runc, none := n.read.noneOfOurs(laidOut(words), n.dir+"/engine.json")
	if none {
		n.agrees(runc, words)
	}
	return none
}

// agrees fails unless the engine does nothing but become the same runc.
func (n *node) agrees(runc string, words []string) {
	n.t.Helper()
	call := cli.Parse(words[1:])
	store, _ := nodefiles.Open(n.dir + "/engine.json")
	warned := ""
	store.Warn = func(format string, args ...any) { warned = fmt.Sprintf(format, args...) }
	id := call.ID()
	ours := false
	switch call.Command {
	case "create":
		c := create.Creation{Store: store, Call: call, Log: report.Log{Path: n.dir + "/log"}}
		ours = c.Run() != create.Runc || c.Protected()
	case "state":
		ours = lifecycle.Ours(store, call)
	case "start":
		ours = store.IsMarked(id)
	case "delete":
		for _, left := range []string{"restored/" + id, "freezing/" + id, "starts/" + id + ".json"} {
			_, err := os.Lstat(store.Path(left))
			ours = ours || err == nil
		}
	case "pause", "resume", "checkpoint":
		ours = store.Request(id) != nil
	}
	if ours || warned != "" || store.Runc != runc {
		n.t.Fatalf("%q becomes %q at once; of the engine: %v, %q, %q", words, runc, ours, warned, store.Runc)
	}
}

// laidOut puts words as the kernel does.
func laidOut(words []string) arguments {
	slots := make([]unsafe.Pointer, len(words)+3)
	*(*int)(unsafe.Pointer(&slots[0])) = len(words)
	for i, word := range words {
		slots[i+1] = unsafe.Pointer(unsafe.SliceData(append([]byte(word), 0)))
	}
	return arguments{unsafe.Pointer(&slots[0])}
}

func TestWhatIsNotProtectedBecomesRuncAtOnce(t *testing.T) {
	n := newNode(t)
	sandbox := strings.Replace(containerd, `container-type":"container"`, `container-type":"sandbox"`, 1)
	for name, config := range map[string]string{
		"containerd": containerd, "CRI-O": crio, "a sandbox": sandbox, "no pod's": `{"process": {}, "annotations": {"a": "b"}}`,
	} {
		n.container(config)
		for _, call := range n.calls() {
			if !n.atOnce(call...) {
				t.Errorf("%s: %q starts Go", name, call)
			}
		}
	}
	for _, words := range [][]string{
		{"/r"}, {"/r", "--version"}, {"/r", "kill", "c1", "9"}, {"/r", "--root", "/x", "exec", "create"}, {""}, {"/r", "\xff", ""},
	} {
		if !n.atOnce(words...) {
			t.Errorf("%q starts Go", words)
		}
	}
}

func TestWhatMayBeProtectedIsLeftToTheEngine(t *testing.T) {
	n := newNode(t)
	create, state := n.calls()[0], n.calls()[1]
	for _, config := range []string{containerd, crio} {
		n.container(config)
		for _, pod := range []string{
			protected, "", "{", `{"version":2,"containers":{}}`, `{"version":1}`, `{"containers":{}}`, unprotected + "x",
			`{"version":1,"containers":{},"containers":{"app":{}}}`, `{"version":1,"containers":{},"Containers":{"app":{}}}`,
			`{"version":1,"containers":{},"contaıners":{"app":{}}}`, `{"version":1,"containers":{},"\u0063ontainers":{"app":{}}}`,
			`{"version":1,"containers":{},"uid":5}`, `{"version":1,"containers":{},"workload":"\q"}`, `{"version":1,"containers":[]}`, unprotected + strings.Repeat(" ", 32<<10-len(unprotected)) + "x",
		} {
			n.put("run/pods/u1.json", pod)
			if n.atOnce(create...) || n.atOnce(state...) {
				t.Errorf("becomes runc at once with the pod's file %s", pod)
			}
		}
		os.Remove(n.dir + "/run/pods/u1.json")
		if n.atOnce(create...) {
			t.Error("becomes runc at once without a pod's file")
		}
	}
	n.put("run/pods/u1.json", unprotected)
	n.put("run/pods/u2.json", protected)
	for what, config := range map[string]string{
		"a name in another case":   strings.Replace(containerd, `"linux"`, `"Annotations":{"io.kubernetes.cri.sandbox-uid":"u2"},"linux"`, 1),
		"a name that is escaped":   strings.Replace(containerd, `"linux"`, `"\u0061nnotations":{"io.kubernetes.cri.sandbox-uid":"u2"},"linux"`, 1),
		"annotations twice":        strings.Replace(containerd, `"linux"`, `"annotations":{"io.kubernetes.cri.sandbox-uid":"u2"},"linux"`, 1),
		"a UID twice":              strings.Replace(containerd, `sandbox-uid":"u1"`, `sandbox-uid":"u1","io.kubernetes.cri.sandbox-uid":"u2"`, 1),
		"an escaped name of a UID": strings.Replace(containerd, `sandbox-uid":"u1"`, `sandbox-uid":"u1","io.kubernetes.cri.sandbox\u002duid":"u2"`, 1),
		"an escaped UID":           strings.Replace(containerd, `sandbox-uid":"u1"`, `sandbox-uid":"\u00752"`, 1),
		"a UID that is a path":     strings.Replace(containerd, `sandbox-uid":"u1"`, `sandbox-uid":"../pods/u1"`, 1),
		"larger than the buffer":   strings.Replace(containerd, `"PATH=/bin"`, `"`+strings.Repeat("x", 600<<10)+`"`, 1),
	} {
		n.put("bundle/config.json", config)
		if n.atOnce(create...) {
			t.Errorf("%s becomes runc at once", what)
		}
	}
	n.put("runc/c1/state.json", strings.Replace(stateOf(containerd), `"io.kubernetes`, `"io.kubernetes.cri-o.ContainerType","io.kubernetes`, 1))
	if n.put("run/pods/u1.json", protected); n.atOnce(state...) {
		t.Error("a label without a value becomes runc at once")
	}
	n.put("runc/c1/state.json", strings.Replace(stateOf(containerd), `"id"`, `"x":"`+strings.Repeat("x", 600<<10)+`","id"`, 1))
	if n.atOnce(state...) {
		t.Error("a state that is larger than the buffer becomes runc at once")
	}
	n.put("run/pods/u1.json", unprotected)
	n.container(containerd)
	for _, words := range [][]string{
		{}, {"/x/tar", "--version"}, {"/x/tar/", "c"}, {"/r", "create"}, {"/r", "create", "c1"}, {"/r", "create", "--bundle", n.dir + "/bundle/../bundle", "c1"},
		{"/r", "create", "--bundle", n.dir + "/bundle"}, {"/r", "state", "../c1"}, {"/r", "start"}, {"/r", "delete", ""}, {"/r", "pause", "c1"},
		{"/r", "resume", "c1"}, {"/r", "checkpoint", "c1"}, {"/r", "state", "."}, {"/r", "state", strings.Repeat("x", 5000)},
	} {
		if n.atOnce(words...) {
			t.Errorf("%q becomes runc at once", words)
		}
	}
}

func TestWhatTheEngineLeftBehindIsLeftToTheEngine(t *testing.T) {
	n := newNode(t)
	for mark, commands := range map[string][]string{
		"restored/c1": {"state", "start", "delete"}, "starts/c1.json": {"state", "delete"}, "freezing/c1": {"delete"},
	} {
		n.put("run/"+mark, "")
		for _, call := range n.calls() {
			command := cli.Parse(call[1:]).Command
			if at := n.atOnce(call...); at == slices.Contains(commands, command) {
				t.Errorf("%s with %s: becomes runc at once: %v", command, mark, at)
			}
		}
		os.Remove(filepath.Join(n.dir, "run", mark))
	}
}

func TestAConfigurationThatIsNotPlainIsLeftToTheEngine(t *testing.T) {
	n := newNode(t)
	for content, sure := range map[string]bool{
		`{}`: true, `{"runc": "/bin/x"}`: true, "{\n \"runc\": \"/a\",\n \"criu\": {\"config\": [\"a\", \"b\"]}\n}\n": true,
		``: false, `{`: false, `[]`: false, `{"runc": 5}`: false, `{"runc": null}`: false, `{"Runc": "/a"}`: false, `{"runc": "/a", "runc": "/b"}`: false,
		`{"runc": "/a\u0062"}`: false, `{"runc": ""}`: false, `{"runc": "/a",}`: false, `{"runc": "/a", "criu": ["a" "b"]}`: false, `{"criu": 1.5}`: false,
		`{"runc": "/é"}`: false, `{"runc": "/a"} {}`: false, `{"run_dir": ""}`: false, `{"criu": 01}`: false, `{"criu": tru}`: false, "{\"runc\": \"/a\x01\"}": false,
	} {
		n.put("engine.json", content)
		if n.atOnce("/r", "--version") != sure {
			t.Errorf("%s: sure is %v", content, !sure)
		}
	}
	os.Remove(n.dir + "/engine.json")
	if !n.atOnce("/r", "--version") {
		t.Error("without a file the defaults are in force")
	}
	os.Mkdir(n.dir+"/engine.json", 0o700)
	if n.atOnce("/r", "--version") {
		t.Error("a configuration that cannot be read is the engine's to report")
	}
}

func TestACommandLineIsReadAsTheEngineReadsIt(t *testing.T) {
	vocabulary := []string{
		"", "-", "--", "---", "--root", "--root=", "--root=/a", "-root", "--log", "--log-format", "json", "--systemd-cgroup", "create", "state", "start",
		"delete", "--bundle", "-b", "--bundle=/b", "-b=/c", "--bundle=", "--pid-file", "--console-socket", "p", "c1", "c2", "..", "a/b", "--force", "\xff", "=", "-=",
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		words := []string{"/r"}
		for range random.IntN(9) {
			words = append(words, vocabulary[random.IntN(len(vocabulary))])
		}
		ours, engines := parse(laidOut(words)), cli.Parse(words[1:])
		id := ours.id
		if !safe(id) {
			id = ""
		}
		got := call{ours.root, ours.command, id, ours.bundle}
		want := call{engines.Global("root"), engines.Command, engines.ID(), engines.Option("bundle", "b")}
		if engines.Command != "create" { // nobody reads it
			got.bundle, want.bundle = "", ""
		}
		if got != want {
			t.Fatalf("%q: %+v, the engine reads %+v", words, got, want)
		}
	}
}

// pieces are what generated files are made of, beside their own.
var pieces = []string{
	`"`, `\`, `\"`, `{`, `}`, `[`, `]`, `:`, `,`, ` `, "\n", "\x00", "\x7f", "é", "\xff", `\u0061`, `null`, `true`, `1`, `01`, `-`, `1.0`, `{}`, `"u2"`, `"uid":`,
	`"containers":{"app":{"verdict":"refuse"}},`, `"Containers":{},`, `"containers":{},`, `"version":1,`, `"annotations":{},`, `"ANNOTATIONS":{"a":"b"},`,
	`"io.kubernetes.cri.container-type":"container",`, `"io.kubernetes.cri.container-type":"sandbox",`, `"io.kubernetes.cri-o.ContainerType":"container",`,
	`"io.kubernetes.cri.sandbox-uid":"u2",`, `"io.kubernetes.pod.uid":"u2",`, `"io.kubernetes.cri.sandbox-uid=u2",`, `"runc":"/x",`, `"labels":[],`, `"config":{},`,
}

func changed(random *rand.Rand, text string) string {
	for range random.IntN(4) {
		i := random.IntN(len(text) + 1)
		j := i + random.IntN(min(len(text)-i, 40)+1)
		switch random.IntN(5) {
		case 0:
			text = text[:i] + text[j:]
		case 1:
			text = text[:j] + text[i:]
		case 2: // at a place where a member may begin
			if at := strings.IndexAny(text[i:], "{[,"); at >= 0 {
				i += at + 1
			}
			fallthrough
		default:
			text = text[:i] + pieces[random.IntN(len(pieces))] + text[i:]
		}
	}
	return text
}

func TestWhatBecomesRuncAtOnceWouldHaveBecomeRunc(t *testing.T) {
	n := newNode(t)
	n.put("run/pods/u2.json", protected)
	engine, _ := os.ReadFile(n.dir + "/engine.json")
	random := rand.New(rand.NewPCG(3, 4))
	atOnce, left := 0, 0
	for range 5_000 {
		config := []string{containerd, crio}[random.IntN(2)]
		n.put("bundle/config.json", changed(random, config))
		n.put("runc/c1/state.json", changed(random, stateOf(config)))
		n.put("run/pods/u1.json", changed(random, []string{unprotected, protected}[random.IntN(2)]))
		n.put("engine.json", changed(random, string(engine)))
		for _, call := range n.calls() {
			if n.atOnce(call...) {
				atOnce++
			} else {
				left++
			}
		}
	}
	if atOnce < 2000 || left < 2000 {
		t.Errorf("%d at once, %d left to the engine: the files are all alike", atOnce, left)
	}
}

// Run it for longer: go test -fuzz=FuzzFiles ./internal/entry
func FuzzFiles(f *testing.F) {
	n := newNode(f)
	n.put("run/pods/u2.json", protected)
	for _, pod := range []string{unprotected, protected} {
		f.Add(containerd, stateOf(containerd), pod)
		f.Add(crio, stateOf(crio), pod)
	}
	f.Fuzz(func(t *testing.T, config, state, pod string) {
		n.t = t
		n.put("bundle/config.json", config)
		n.put("runc/c1/state.json", state)
		n.put("run/pods/u1.json", pod)
		for _, call := range n.calls() {
			n.atOnce(call...)
		}
	})
}

// allowed are what this package may call: nothing of them needs the runtime. morestack is there, and never called: see zeros.
var allowed = regexp.MustCompile(`^(reprise\.dev/engine/internal/entry\.\S+|syscall\.RawSyscall6?|runtime\.memequal|runtime\.morestack_noctxt(\.abi0)?|_rt0_\w+)\(SB\)$`)

// callee are calls, and jumps that leave a function.
var callee = regexp.MustCompile(`\t(?:CALL|JMP) (\S+\(SB\)|0?\([A-Z]+[0-9]*\))\s`)

func TestNothingHereCallsTheRuntime(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		binary := filepath.Join(t.TempDir(), arch)
		build := exec.Command("go", "build", "-ldflags", "-E reprise_entry", "-o", binary, "../../cmd/reprise-runc")
		build.Env = append(os.Environ(), "GOARCH="+arch, "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		code, err := exec.Command("go", "tool", "objdump", "-s", `^(reprise\.dev/engine/internal/entry\.|reprise_entry$)`, binary).Output()
		if err != nil {
			t.Fatal(err)
		}
		calls, indirect := callee.FindAllStringSubmatch(string(code), -1), 0
		for _, call := range calls {
			if strings.HasPrefix(call[1], "0(") || strings.HasPrefix(call[1], "(") {
				indirect++ // reprise_entry's, of run
			} else if !allowed.MatchString(call[1]) {
				t.Errorf("%s: calls %s", arch, call[1])
			}
		}
		if len(calls) < 50 || indirect != 1 {
			t.Errorf("%s: %d calls, %d of them indirect", arch, len(calls), indirect)
		}
	}
}
