//go:build integration

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func median(values []time.Duration) time.Duration {
	slices.Sort(values)
	return values[len(values)/2]
}

// silence is the longest time between two ticks since a moment.
func (c *container) silence(since time.Time) time.Duration {
	longest, last := int64(0), int64(0)
	for _, t := range c.ticks() {
		if last != 0 && t.at > since.UnixNano() {
			longest = max(longest, t.at-last)
		}
		last = t.at
	}
	return time.Duration(longest)
}

// bare takes a checkpoint by runc alone, as a runtime does: pause, checkpoint, resume.
func (c *container) bare(id string) (call time.Duration) {
	c.t.Helper()
	dir := c.dir + "/bare-" + id
	began := time.Now()
	for _, args := range [][]string{
		{"pause", c.id},
		{"checkpoint", "--file-locks", "--manage-cgroups-mode", "ignore", "--image-path", dir, "--work-path", dir + "-work", "--leave-running", c.id},
		{"resume", c.id},
	} {
		if out, err := c.callWith("/usr/bin/runc", args...); err != nil {
			c.t.Fatalf("%q: %v %s", args, err, out)
		}
	}
	call = time.Since(began)
	os.RemoveAll(dir)
	return call
}

func pauses(t *testing.T, rounds int, args ...string) {
	n := newNode(t)
	c := n.container(args...)
	c.run()
	c.waitFor(20)
	var engineSilence, bareSilence, told, frozen, engineCall, bareCall []time.Duration
	for i := range rounds {
		began := time.Now()
		dump, err := c.checkpoint(fmt.Sprint("k", i), false)
		engineCall = append(engineCall, time.Since(began))
		if err != nil {
			t.Fatal(err)
		}
		c.waitFor(c.last().n + 5)
		engineSilence = append(engineSilence, c.silence(began))
		told = append(told, time.Duration(dump["pause_s"].(float64)*1e9))
		frozen = append(frozen, time.Duration(dump["criu"].(map[string]any)["frozen_time_us"].(float64)*1e3))
		os.RemoveAll(c.slots())

		began = time.Now()
		bareCall = append(bareCall, c.bare(fmt.Sprint("k", i)))
		c.waitFor(c.last().n + 5)
		bareSilence = append(bareSilence, c.silence(began))
	}
	e, b := median(engineSilence), median(bareSilence)
	t.Logf("silence: engine %v, runc %v, ratio %.2f; told %v, CRIU frozen %v; call: engine %v, runc %v", e, b,
		float64(e)/float64(b), median(told), median(frozen), median(engineCall), median(bareCall))
}

func TestBenchPauseOfASmallProcess(t *testing.T) { pauses(t, 20) }

func TestBenchPauseAtOneGiB(t *testing.T) { pauses(t, 3, "1024") }

func TestBenchRestore(t *testing.T) {
	n, c := checkpointed(t)
	c.crash()
	var byEngine, byRunc, blank []time.Duration
	for range 10 {
		c = n.container()
		began := time.Now()
		c.run()
		byEngine = append(byEngine, time.Since(began))
		c.crash()

		c = n.container()
		config := c.read(c.bundle + "/config.json")
		config["annotations"] = map[string]string{"org.criu.config": n.dir + "/criu.conf"}
		n.write(c.bundle+"/config.json", config)
		os.WriteFile(n.dir+"/criu.conf", []byte("tcp-close\nfile-locks\n"), 0o600)
		began = time.Now()
		out, err := c.callWith("/usr/bin/runc", "restore", "--detach", "--bundle", c.bundle, "--image-path", c.slots()+"/k/checkpoint",
			"--work-path", c.bundle+"/w", "--manage-cgroups-mode", "ignore", c.id)
		if err != nil {
			t.Fatal(err, out)
		}
		c.callWith("/usr/bin/runc", "state", c.id)
		byRunc = append(byRunc, time.Since(began))
		c.callWith("/usr/bin/runc", "delete", "--force", c.id)

		c = n.container()
		began = time.Now()
		c.callWith("/usr/bin/runc", "create", "--bundle", c.bundle, c.id)
		c.callWith("/usr/bin/runc", "state", c.id)
		c.callWith("/usr/bin/runc", "start", c.id)
		blank = append(blank, time.Since(began))
		c.callWith("/usr/bin/runc", "delete", "--force", c.id)
	}
	e, r := median(byEngine), median(byRunc)
	t.Logf("create, state, start: engine restores in %v, runc restore by hand %v (ratio %.2f), runc blank %v", e, r, float64(e)/float64(r), median(blank))
}

// TestBenchUnprotectedStarts measures STARTS pairs in turn (40 if it is not set); `make bench ONLY=engine` reads its line.
func TestBenchUnprotectedStarts(t *testing.T) {
	rounds, err := strconv.Atoi(os.Getenv("STARTS"))
	if err != nil {
		rounds = 40
	}
	n := newNode(t)
	n.write(n.dir+"/run/pods/"+n.uid+".json", map[string]any{"version": 1, "containers": map[string]any{}})
	c := n.container()
	times := map[string][]time.Duration{}
	one := func(binary string) {
		began := time.Now()
		for _, args := range [][]string{{"create", "--bundle", c.bundle, c.id}, {"state", c.id}, {"start", c.id}} {
			if err := exec.Command(binary, args...).Run(); err != nil {
				t.Fatalf("%s %q: %v", binary, args, err)
			}
		}
		times[binary] = append(times[binary], time.Since(began))
		exec.Command("/usr/bin/runc", "delete", "--force", c.id).Run()
	}
	var more []time.Duration
	for i := range rounds {
		one(engine)
		one("/usr/bin/runc")
		more = append(more, times[engine][i]-times["/usr/bin/runc"][i])
	}
	e, r := median(times[engine]), median(times["/usr/bin/runc"])
	t.Logf("create, state, start: %d pairs, engine %v, runc %v, each %v more", rounds, e, r, median(more))
	// The engine alone, without runc behind it, three calls.
	n.write(work+"/engine.json", map[string]any{"runc": "/bin/true", "run_dir": n.dir + "/run", "state_dir": n.dir + "/state"})
	var ours, theirs []time.Duration
	for range 300 {
		began := time.Now()
		exec.Command(engine, "create", "--bundle", c.bundle, c.id).Run()
		ours = append(ours, time.Since(began))
		began = time.Now()
		exec.Command("/bin/true").Run()
		theirs = append(theirs, time.Since(began))
	}
	t.Logf("one call of create: engine in front of true %v, true alone %v", median(ours), median(theirs))
}

// TestBenchTimeline prints where CRIU's time goes.
func TestBenchTimeline(t *testing.T) {
	n := newNode(t)
	c := n.container()
	c.run()
	c.waitFor(20)
	c.good("k0")
	c.good("k")
	raw, _ := os.ReadFile(c.slots() + "/k/dump.log")
	last := 0.0
	previous := ""
	for _, line := range strings.Split(string(raw), "\n") {
		var at float64
		if n, _ := fmt.Sscanf(line, "(%f)", &at); n == 1 {
			if at-last > 0.0015 {
				t.Logf("%.1f ms before %q\n   after %q", (at-last)*1e3, line, previous)
			}
			last, previous = at, line
		}
	}
}
