// Package entry becomes runc before the Go runtime is initialised, if a call is plainly none of the engine's.
//
// To start Go's runtime costs more than everything else that the engine does for an unprotected container (docs/adr/0015). So
// engine/build.sh has the kernel enter the binary at reprise_entry (entry_linux_*.s), which calls run. run reads the command line
// and the same files as the engine, and executes runc. Whenever it is in doubt it returns: nothing has happened, Go starts as
// always, and cmd/reprise-runc decides as if this package did not exist.
//
// Invariant: if it becomes runc, cmd/reprise-runc would do nothing but become runc with the same words
// (TestWhatBecomesRuncAtOnceWouldHaveBecomeRunc).
//
// There is no runtime yet, so nothing here uses what needs one: the heap, maps, interfaces, channels, defer, panics. Files are read
// into own, a part of the binary; strings point into it. Bytes are read by at and cut, which check their bounds themselves.
// TestNothingHereCallsTheRuntime reads the machine code. The g of run is all zeros, so that no function asks for more stack: it
// is the kernel's, of 8 MiB.
package entry

import (
	"syscall"
	"unsafe"
)

// ConfigPath is the engine's configuration. Tests set it: -ldflags "-X reprise.dev/engine/internal/entry.ConfigPath=...".
var ConfigPath = "/etc/reprise/engine.json"

// What reprise_entry uses.
var (
	stack unsafe.Pointer // as the kernel made it
	start = run          // assembly cannot call a Go function by its name without the runtime
	zeros [512]byte
)

var (
	own  memory
	name = [...]byte{'r', 'u', 'n', 'c', 0} // argv[0], as in runc.Become
)

func run() {
	words := arguments{stack}
	runc, none := own.noneOfOurs(words, ConfigPath)
	if !none || !own.path.join(runc, "", "", "") {
		return
	}
	argv, env := words.slot(0), words.slot(words.count()+1)
	called := *argv
	*argv = uintptr(unsafe.Pointer(&name))
	syscall.RawSyscall(syscall.SYS_EXECVE, own.path.pointer(), uintptr(unsafe.Pointer(argv)), uintptr(unsafe.Pointer(env)))
	*argv = called // that failed; the engine tries it again, and says why
}

// memory is what files are read into. Its zero value is ready.
type memory struct {
	path      path
	engine    [4 << 10]byte   // engine.json
	container [512 << 10]byte // config.json, or runc's state.json
	pod       [32 << 10]byte  // pods/<uid>.json
}

// noneOfOurs reports whether the engine would only become runc, and which.
func (m *memory) noneOfOurs(words arguments, configPath string) (runc string, none bool) {
	if words.count() < 1 || calledTar(words.get(0)) {
		return "", false
	}
	runc, run, sure := m.configuration(configPath)
	return runc, sure && m.isRuncs(parse(words), run)
}

func (m *memory) isRuncs(c call, run string) bool {
	switch c.command {
	case "create", "state", "start", "delete":
		if !safe(c.id) {
			return false
		}
	}
	switch c.command {
	case "create":
		config, s := m.object(m.container[:], c.bundle, "/config.json", "", "")
		return s == found && m.isUnprotected(config, run)
	case "state":
		return m.nothing(run, "/restored/", c.id, "") && m.nothing(run, "/starts/", c.id, ".json") && m.stateIsRuncs(c, run)
	case "start":
		return m.nothing(run, "/restored/", c.id, "")
	case "delete":
		return m.nothing(run, "/restored/", c.id, "") && m.nothing(run, "/freezing/", c.id, "") &&
			m.nothing(run, "/starts/", c.id, ".json")
	case "checkpoint", "pause", "resume": // there may be a request
		return false
	}
	return true
}

// configuration returns the path of runc and run_dir.
func (m *memory) configuration(path string) (runc, run string, sure bool) {
	runc, run = "/usr/bin/runc", "/run/reprise"
	object, s := m.object(m.engine[:], path, "", "", "")
	if s == absent {
		return runc, run, true
	}
	if s == unsure || escapes(object) {
		return "", "", false
	}
	if value, s := text(object, "runc"); s == found {
		runc = value
	} else if s == unsure {
		return "", "", false
	}
	if value, s := text(object, "run_dir"); s == found {
		run = value
	} else if s == unsure {
		return "", "", false
	}
	return runc, run, runc != "" && run != ""
}

// isUnprotected reports whether a bundle is of no workload, or of a pod of which the agent protects nothing.
func (m *memory) isUnprotected(config, run string) bool {
	annotations, s := lookup(config, "annotations")
	return s == absent || s == found && at(annotations, 0) == '{' && m.podIsUnprotected(annotations, run)
}

func (m *memory) stateIsRuncs(c call, run string) bool {
	root := c.root
	if root == "" {
		root = "/run/runc"
	}
	state, s := m.object(m.container[:], root, "/", c.id, "/state.json")
	if s != found {
		return s == absent
	}
	config, _ := lookup(state, "config")
	labels, s := lookup(config, "labels")
	return s == found && at(labels, 0) == '[' && m.podIsUnprotected(labels, run)
}

// podIsUnprotected takes the annotations of a container, or runc's labels, which are the same.
func (m *memory) podIsUnprotected(notes, run string) bool {
	kind, s := text(notes, "io.kubernetes.cri-o.ContainerType")
	of := "io.kubernetes.pod.uid"
	if s == absent {
		kind, s = text(notes, "io.kubernetes.cri.container-type")
		of = "io.kubernetes.cri.sandbox-uid"
	}
	if s == unsure || kind != "container" {
		return s != unsure // of no workload: "" without an annotation
	}
	uid, s := text(notes, of)
	if s != found || !safe(uid) {
		return false
	}
	file, s := m.object(m.pod[:], run, "/pods/", uid, ".json")
	return s == found && protectsNothing(file)
}

// protectsNothing reports whether a pods/<uid>.json lists no container, in a form that the engine reads as that.
func protectsNothing(file string) bool {
	version, _ := lookup(file, "version")
	containers, _ := lookup(file, "containers")
	return !escapes(file) && version == "1" && at(containers, 0) == '{' && at(containers, space(containers, 1)) == '}' &&
		isTextIfAny(file, "namespace") && isTextIfAny(file, "pod") && isTextIfAny(file, "uid")
}

func isTextIfAny(object, name string) bool {
	_, s := text(object, name)
	return s != unsure
}
