// reprise-runc is an OCI runtime. The container runtime calls it where it used to call runc; it decides each start
// of a protected container from files on the node (docs/node-files.md), and becomes runc for everything else.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"reprise.dev/engine/internal/checkpoint"
	"reprise.dev/engine/internal/cli"
	"reprise.dev/engine/internal/create"
	"reprise.dev/engine/internal/entry"
	"reprise.dev/engine/internal/lifecycle"
	"reprise.dev/engine/internal/nodefiles"
	"reprise.dev/engine/internal/report"
	"reprise.dev/engine/internal/runc"
	"reprise.dev/engine/internal/tmpfs"
)

// Set at build time: -ldflags "-X main.version=..."
var version = "dev"

func main() {
	if filepath.Base(os.Args[0]) == "tar" { // CRIU calls us by that name during a dump
		os.Exit(tmpfs.Tar(os.Args[1:]))
	}
	call := cli.Parse(os.Args[1:])
	store, err := nodefiles.Open(entry.ConfigPath)
	log := report.Log{Path: store.Path("engine.log")}
	warned := map[string]bool{}
	store.Warn = func(format string, args ...any) {
		message := fmt.Sprintf(format, args...)
		if !warned[message] { // files are read again and again while create waits
			warned[message] = true
			log.Write("warning", report.Fields{"container_id": call.ID(), "message": message})
		}
	}
	if err != nil {
		store.Warn("%s: %v", entry.ConfigPath, err)
	}
	if code, ours := perform(call, store, log); ours {
		os.Exit(code)
	}
	report.Failure(call.Global("log"), call.Global("log-format"), runc.Become(store.Runc, call.Args).Error())
	os.Exit(1)
}

// perform does what is ours of a call. Whatever is not is left to runc.
func perform(call cli.Call, store nodefiles.Store, log report.Log) (code int, ours bool) {
	id := call.ID()
	switch call.Command {
	case "create":
		return creation(call, store, log)
	case "checkpoint":
		if request := store.Request(id); request != nil && checkpoint.Ours(call) {
			c := checkpoint.Checkpoint{Store: store, Call: call, Request: *request, Log: log, Version: version}
			return c.Run(), true
		}
	case "pause", "resume":
		return 0, store.Request(id) != nil // the engine freezes by itself
	case "state":
		if lifecycle.Ours(store, call) {
			return lifecycle.State(store, call), true
		}
	case "start":
		if store.IsMarked(id) {
			return 0, lifecycle.Start(store, call)
		}
	case "delete":
		store.Forget(id)
	}
	return 0, false
}

func creation(call cli.Call, store nodefiles.Store, log report.Log) (code int, ours bool) {
	c := &create.Creation{Store: store, Call: call, Log: log}
	defer func() {
		if trouble := recover(); trouble != nil {
			log.Write("panic", report.Fields{"container_id": call.ID(), "message": fmt.Sprint(trouble)})
			if code, ours = 1, c.Protected(); ours {
				report.Failure(call.Global("log"), call.Global("log-format"), fmt.Sprint("the engine failed: ", trouble))
			}
		}
	}()
	switch c.Run() {
	case create.Done:
		return 0, true
	case create.Failed:
		return 1, true
	}
	return 0, false
}
