// Package lifecycle answers for a protected container what runc would not: a restored one is created until its start, and one that
// stands still for a while runs.
package lifecycle

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"regexp"

	"reprise.dev/engine/internal/bundle"
	"reprise.dev/engine/internal/cli"
	"reprise.dev/engine/internal/nodefiles"
	"reprise.dev/engine/internal/runc"
)

// Ours reports whether a container is protected: since its start, or since it runs, which left no record of its start.
func Ours(store nodefiles.Store, call cli.Call) bool {
	if store.IsMarked(call.ID()) || store.HasStart(call.ID()) {
		return true
	}
	state, err := runc.ReadState(call.Global("root"), call.ID())
	if err != nil {
		return false
	}
	who := bundle.Spec{Annotations: state.Annotations()}.Identity()
	if !who.Workload {
		return false
	}
	pod := store.Pod(who.PodUID)
	if pod == nil {
		return false
	}
	_, listed := pod.Containers[who.Container]
	return listed
}

// State prints runc's state; a restored container that was not started yet is "created", from which CRI-O takes the time of its
// start. One that is frozen is "running": it is thawed without the runtime, and CRI-O keeps what it was told last: it would neither
// checkpoint it nor execute a probe in it any more.
func State(store nodefiles.Store, call cli.Call) int {
	cmd := exec.Command(store.Runc)
	cmd.Args = append([]string{"runc"}, call.Args...)
	cmd.Stdin, cmd.Stderr = os.Stdin, os.Stderr
	var out bytes.Buffer
	cmd.Stdout = &out
	err := cmd.Run()
	text := out.Bytes()
	if err == nil {
		status := "running"
		if store.IsMarked(call.ID()) {
			status = "created"
		}
		text = Told(text, status, alive(call))
	}
	os.Stdout.Write(text)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exit.ExitCode()
	}
	if err != nil {
		return 1
	}
	return 0
}

// Told changes the status of a process that lives. Everything else stays as it was, byte for byte.
func Told(state []byte, status string, alive bool) []byte {
	var parsed struct {
		Status string `json:"status"`
	}
	if !alive || json.Unmarshal(state, &parsed) != nil || (parsed.Status != "running" && parsed.Status != "paused") {
		return state
	}
	at := regexp.MustCompile(`"status":\s*"(running|paused)"`).FindSubmatchIndex(state)
	if at == nil {
		return state
	}
	return bytes.Join([][]byte{state[:at[2]], state[at[3]:]}, []byte(status))
}

func alive(call cli.Call) bool {
	state, err := runc.ReadState(call.Global("root"), call.ID())
	return err == nil && state.Alive()
}

// Start ends the time between create and start. It returns false if runc has to be asked:
// the process has ended meanwhile, and runc says so.
func Start(store nodefiles.Store, call cli.Call) bool {
	lives := alive(call)
	return store.Unmark(call.ID()) == nil && lives
}
