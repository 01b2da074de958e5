//go:build integration

// Package integration runs the engine with real runc and real criu: see run.sh.
package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

const engine, work = "/work/reprise-runc", "/work"

// node is a node as the engine sees it: its files, and containers on it.
type node struct {
	t    *testing.T
	dir  string
	uid  string
	next int
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{t: t, dir: t.TempDir(), uid: "uid-" + strings.ReplaceAll(t.Name(), "/", "-")}
	n.write(work+"/engine.json", map[string]any{"run_dir": n.dir + "/run", "state_dir": n.dir + "/state"})
	n.agent(true)
	n.say(map[string]any{"verdict": "restore", "slots": []string{n.place()}})
	for _, args := range [][]string{{"netns", "add", n.uid}, {"-n", n.uid, "link", "set", "lo", "up"}} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %q: %v %s", args, err, out)
		}
	}
	t.Cleanup(func() { exec.Command("ip", "netns", "delete", n.uid).Run() })
	return n
}

// network is the pod's network namespace, which outlives its containers.
func (n *node) network() string { return "/run/netns/" + n.uid }

const sysSetns = 308 // amd64; not in package syscall

func (n *node) place() string { return "shop/" + n.uid }

func (n *node) slots() string { return filepath.Join(n.dir, "state/slots", n.place(), "app") }

func (n *node) write(path string, value any) {
	n.t.Helper()
	raw, _ := json.Marshal(value)
	os.MkdirAll(filepath.Dir(path), 0o700)
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) read(path string) map[string]any {
	n.t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		n.t.Fatal(err)
	}
	var value map[string]any
	if err := json.Unmarshal(raw, &value); err != nil {
		n.t.Fatalf("%s: %v", path, err)
	}
	return value
}

func boottime() float64 {
	var ts syscall.Timespec
	syscall.Syscall(syscall.SYS_CLOCK_GETTIME, 7, uintptr(unsafe.Pointer(&ts)), 0)
	return float64(ts.Sec) + float64(ts.Nsec)/1e9
}

// agent is alive with a lease, for the length of a test.
func (n *node) agent(lease bool) {
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	now := boottime() + 600
	node := map[string]any{"version": 1, "boot_id": strings.TrimSpace(string(boot)), "ttl_s": 3, "heartbeat_at_s": now}
	if lease {
		node["renewed_at_s"] = now
	}
	n.write(n.dir+"/run/node.json", node)
}

func (n *node) say(container map[string]any) {
	n.write(n.dir+"/run/pods/"+n.uid+".json", map[string]any{
		"version": 1, "uid": n.uid, "containers": map[string]any{"app": container},
	})
}

// container is one container, as a runtime makes it: a bundle with an overlay for its root.
type container struct {
	*node
	id, bundle, data string
	pid              int
	output           string
}

func (n *node) container(args ...string) *container {
	n.t.Helper()
	n.next++
	id := fmt.Sprintf("%s-%d-%d", strings.ToLower(strings.ReplaceAll(n.t.Name(), "/", "-")), os.Getpid(), n.next)
	c := &container{node: n, id: id, bundle: filepath.Join(n.dir, "b"+strconv.Itoa(n.next)), data: n.dir + "/data"}
	image := n.dir + "/image"
	for _, d := range []string{"etc", "var", "data", "proc", "sys", "dev", "tmp"} {
		os.MkdirAll(filepath.Join(image, d), 0o755)
	}
	os.MkdirAll(c.data, 0o755)
	os.WriteFile(image+"/etc/unwanted", []byte("of the image"), 0o644)
	exec.Command("cp", work+"/counter", image+"/counter").Run()
	for _, d := range []string{"upper", "work", "rootfs"} {
		os.MkdirAll(filepath.Join(c.bundle, d), 0o755)
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", image, c.bundle, c.bundle)
	if err := syscall.Mount("overlay", c.bundle+"/rootfs", "overlay", 0, options); err != nil {
		n.t.Fatal(err)
	}
	os.WriteFile(c.bundle+"/hosts", []byte("127.0.0.1 localhost\n"), 0o644)
	n.write(c.bundle+"/config.json", c.config(args))
	n.t.Cleanup(func() {
		exec.Command("/usr/bin/runc", "delete", "--force", c.id).Run()
		syscall.Unmount(c.bundle+"/rootfs", syscall.MNT_DETACH)
	})
	return c
}

func (c *container) config(args []string) map[string]any {
	mount := func(destination, kind, source string, options ...string) map[string]any {
		return map[string]any{"destination": destination, "type": kind, "source": source, "options": options}
	}
	mounts := []any{
		mount("/proc", "proc", "proc"),
		mount("/dev", "tmpfs", "tmpfs", "nosuid", "mode=755", "size=65536k"),
		mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
		mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
		mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
		mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
		mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"),
		mount("/data", "bind", c.data, "rbind", "rw"),
		mount("/etc/hosts", "bind", c.bundle+"/hosts", "rbind", "rw"),
	}
	return map[string]any{
		"ociVersion": "1.0.2",
		"process": map[string]any{
			"args": append([]string{"/counter"}, args...), "cwd": "/", "user": map[string]int{"uid": 0, "gid": 0},
			"env": []string{"PATH=/", "HOSTNAME=" + c.id},
		},
		"root": map[string]any{"path": "rootfs"}, "hostname": "app", "mounts": mounts,
		"annotations": map[string]string{
			"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.sandbox-uid": c.uid,
			"io.kubernetes.cri.sandbox-namespace": "shop", "io.kubernetes.cri.sandbox-name": "cart-0",
			"io.kubernetes.cri.container-name": "app", "io.kubernetes.cri.image-name": "counter:1",
		},
		"linux": map[string]any{
			"cgroupsPath":   "/reprise-engine-test/" + c.id,
			"maskedPaths":   []string{"/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"},
			"readonlyPaths": []string{"/proc/sys"},
			"namespaces": []map[string]string{
				{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"},
				{"type": "network", "path": c.network()},
			},
		},
	}
}

// call runs the engine with pipes for stdio, as conmon and the shim do, and returns what it printed.
func (c *container) call(args ...string) (string, error) {
	c.t.Helper()
	return c.callWith(engine, args...)
}

func (c *container) callWith(binary string, args ...string) (string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = w, w, c.bundle
	err = cmd.Run()
	w.Close()
	text := make(chan string, 1)
	go func() { // the container keeps the other end open
		buffer := make([]byte, 64<<10)
		n, _ := r.Read(buffer)
		text <- string(buffer[:n])
	}()
	select {
	case got := <-text:
		return got, err
	case <-time.After(20 * time.Millisecond):
		return "", err
	}
}

func (c *container) create() error {
	c.t.Helper()
	pid := c.bundle + "/pid"
	out, err := c.call("--log", c.bundle+"/log.json", "--log-format", "json", "create", "--bundle", c.bundle, "--pid-file", pid, c.id)
	c.output = out
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(pid)
	if err != nil {
		return err
	}
	c.pid, err = strconv.Atoi(string(raw))
	return err
}

// run creates and starts.
func (c *container) run() map[string]any {
	c.t.Helper()
	if err := c.create(); err != nil {
		c.t.Fatalf("create: %v %s", err, c.output)
	}
	if status := c.status(); status != "created" {
		c.t.Errorf("before start: %s", status)
	}
	if out, err := c.call("start", c.id); err != nil {
		c.t.Fatalf("start: %v %s", err, out)
	}
	return c.started()
}

func (c *container) started() map[string]any {
	c.t.Helper()
	return c.read(c.dir + "/run/starts/" + c.id + ".json")
}

func (c *container) status() string {
	c.t.Helper()
	out, err := exec.Command(engine, "state", c.id).Output()
	var state struct{ Status string }
	if err != nil || json.Unmarshal(out, &state) != nil {
		return fmt.Sprint("error: ", err)
	}
	return state.Status
}

func (c *container) kill() {
	c.t.Helper()
	exec.Command("/usr/bin/runc", "kill", c.id, "KILL").Run()
	c.thaw() // v1: a frozen process does not end
	for range 500 {
		if c.status() == "stopped" {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	c.t.Fatalf("does not end: %s", c.status())
}

func (c *container) remove() {
	c.t.Helper()
	if out, err := c.call("delete", c.id); err != nil {
		c.t.Fatalf("delete: %v %s", err, out)
	}
}

// request puts a request in force, and takes the checkpoint as the kubelet would have it taken.
func (c *container) checkpoint(id string, hold bool) (map[string]any, error) {
	c.t.Helper()
	c.write(c.dir+"/run/requests/"+c.id+".json", map[string]any{
		"version": 1, "checkpoint_id": id, "slots": c.place(), "hold": hold, "expires_at_s": boottime() + 60,
	})
	for _, swallowed := range []string{"pause", "resume"} {
		if out, err := c.call(swallowed, c.id); err != nil {
			c.t.Fatalf("%s: %v %s", swallowed, err, out)
		}
	}
	out, err := c.call("checkpoint", "--file-locks", "--image-path", c.bundle+"/images", "--work-path", c.bundle+"/criu", "--leave-running", c.id)
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	os.Remove(c.dir + "/run/requests/" + c.id + ".json")
	return c.read(c.dir + "/run/dumps/" + c.id + ".json"), err
}

// good takes a checkpoint and moves live to it, as transfer does.
func (c *container) good(id string) map[string]any {
	c.t.Helper()
	dump, err := c.checkpoint(id, false)
	if err != nil || dump["outcome"] != "ok" {
		log, _ := os.ReadFile(c.bundle + "/criu/dump.log")
		c.t.Fatalf("checkpoint: %v %v\n%s", err, dump, tail(log))
	}
	if old, err := os.Readlink(c.slots() + "/live"); err == nil {
		os.Remove(c.slots() + "/previous")
		os.Symlink(old, c.slots()+"/previous")
		os.Remove(c.slots() + "/live")
	}
	os.Symlink(id, c.slots()+"/live")
	return dump
}

func tail(text []byte) string {
	lines := strings.Split(string(text), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

type tick struct{ n, at int64 }

func (c *container) ticks() []tick {
	raw, _ := os.ReadFile(c.data + "/ticks")
	var found []tick
	for _, line := range strings.Split(string(raw), "\n") {
		var t tick
		if n, _ := fmt.Sscan(line, &t.n, &t.at); n == 2 {
			found = append(found, t)
		}
	}
	return found
}

func (c *container) last() tick {
	ticks := c.ticks()
	if len(ticks) == 0 {
		return tick{}
	}
	return ticks[len(ticks)-1]
}

// waitFor waits until the counter has come to n.
func (c *container) waitFor(n int64) {
	c.t.Helper()
	for range 5000 {
		if c.last().n >= n {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	c.t.Fatalf("the counter stands at %d, status %s", c.last().n, c.status())
}

func (c *container) cgroup() string {
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.procs"); err == nil {
		return "/sys/fs/cgroup/reprise-engine-test/" + c.id
	}
	return "/sys/fs/cgroup/freezer/reprise-engine-test/" + c.id
}

func (c *container) frozen() bool {
	state, err := os.ReadFile(c.cgroup() + "/freezer.state")
	if err == nil {
		return strings.TrimSpace(string(state)) == "FROZEN"
	}
	events, _ := os.ReadFile(c.cgroup() + "/cgroup.events")
	return strings.Contains(string(events), "frozen 1")
}

func (c *container) thaw() {
	os.WriteFile(c.cgroup()+"/freezer.state", []byte("THAWED"), 0)
	os.WriteFile(c.cgroup()+"/cgroup.freeze", []byte("0"), 0)
}

// checkpointed is a node with a container that has run for a while and has the good checkpoint k.
func checkpointed(t *testing.T) (*node, *container) {
	t.Helper()
	n := newNode(t)
	c := n.container()
	c.run()
	c.waitFor(20)
	c.good("k")
	return n, c
}
