// The bare technique, for the bench to stand beside: an OCI runtime in front of runc that turns `create` of a container whose
// checkpoint lies on this node into `runc restore`. It decides nothing, checks nothing and reports nothing.
package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// runc is what the engine calls on this node when no bench runs; set by the bench.
var runc = "/usr/bin/runc"

const (
	slots = "/var/lib/reprise-bare"
	marks = "/run/reprise-bare"
)

// valued are runc's global options that are followed by a value.
var valued = map[string]bool{"--log": true, "--log-format": true, "--root": true, "--criu": true, "--rootless": true}

func main() {
	args := os.Args[1:]
	at := 0
	for at < len(args) && strings.HasPrefix(args[at], "-") {
		if valued[args[at]] {
			at++
		}
		at++
	}
	if at+1 >= len(args) {
		become(args)
	}
	global, command, rest := args[:at], args[at], args[at+1:]
	id := rest[len(rest)-1]
	mark := filepath.Join(marks, id)
	_, unmarked := os.Stat(mark)
	switch command {
	case "create":
		bundle := option(rest, "--bundle", "-b")
		if bundle == "" {
			bundle, _ = os.Getwd()
		}
		if slot := slotOf(bundle); slot != "" {
			restore(global, rest, bundle, slot, id, mark)
		}
	case "state": // a runtime expects `created` before it has called `start`
		if unmarked == nil {
			out, err := exec.Command(runc, args...).Output()
			if err != nil {
				os.Exit(1)
			}
			os.Stdout.WriteString(strings.Replace(string(out), `"status": "running"`, `"status": "created"`, 1))
			os.Exit(0)
		}
	case "start":
		if unmarked == nil {
			os.Remove(mark)
			os.Exit(0)
		}
	}
	become(args)
}

func restore(global, rest []string, bundle, slot, id, mark string) {
	words := append(append([]string{}, global...), "restore", "--detach", "--bundle", bundle, "--image-path",
		filepath.Join(slot, "checkpoint"), "--work-path", slot, "--manage-cgroups-mode", "ignore")
	for _, name := range []string{"--pid-file", "--console-socket"} {
		if value := option(rest, name); value != "" {
			words = append(words, name, value)
		}
	}
	run := exec.Command(runc, append(words, id)...)
	run.Stdin, run.Stdout, run.Stderr = os.Stdin, os.Stdout, os.Stderr
	if run.Run() != nil {
		os.Exit(1)
	}
	os.MkdirAll(marks, 0o700)
	os.WriteFile(mark, nil, 0o600)
	os.Exit(0)
}

func become(args []string) {
	err := syscall.Exec(runc, append([]string{"runc"}, args...), os.Environ())
	println("bare wrapper:", err.Error())
	os.Exit(1)
}

func option(args []string, names ...string) string {
	for i, arg := range args {
		for _, name := range names {
			if arg == name && i+1 < len(args) {
				return args[i+1]
			}
			if value, ok := strings.CutPrefix(arg, name+"="); ok {
				return value
			}
		}
	}
	return ""
}

// slotOf is the folder of the checkpoint that this container is to be restored from; empty if there is none.
func slotOf(bundle string) string {
	raw, _ := os.ReadFile(filepath.Join(bundle, "config.json"))
	var spec struct{ Annotations map[string]string }
	json.Unmarshal(raw, &spec)
	get := func(keys ...string) string {
		for _, key := range keys {
			if value := spec.Annotations[key]; value != "" {
				return value
			}
		}
		return ""
	}
	if get("io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType") != "container" {
		return ""
	}
	uid := get("io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid")
	slot := filepath.Join(slots, uid, get("io.kubernetes.cri.container-name", "io.kubernetes.container.name"))
	if _, err := os.Stat(filepath.Join(slot, "checkpoint")); err != nil {
		return ""
	}
	return slot
}
