// Package cli reads runc's command line, as far as the engine needs to know it.
//
// The engine never rebuilds a command line that it passes on: what is not ours reaches runc byte for byte.
package cli

import "strings"

// Call is one invocation, split at the command.
type Call struct {
	Args    []string // everything after argv[0], untouched
	Globals []string // the options before the command
	Command string   // "" if there is none
	Rest    []string // everything after the command

	globals options
	options options
	words   []string
}

type options map[string]string

// Options that take a value. The others are switches.
var (
	globalValues = words("log log-format root criu rootless")
	valuesOf     = map[string]map[string]bool{
		"create": words("bundle b console-socket pidfd-socket pid-file preserve-fds"),
		"checkpoint": words("image-path work-path parent-path status-fd page-server manage-cgroups-mode empty-ns " +
			"lsm-profile lsm-mount-context"),
	}
)

func words(list string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(list) {
		set[w] = true
	}
	return set
}

// Parse splits args (without argv[0]).
func Parse(args []string) Call {
	call := Call{Args: args, globals: options{}, options: options{}}
	at := 0
	for at < len(args) && strings.HasPrefix(args[at], "-") && args[at] != "-" && args[at] != "--" {
		at += call.globals.take(args[at:], globalValues)
	}
	at = min(at, len(args))
	call.Globals = args[:at]
	if at == len(args) {
		return call
	}
	call.Command, call.Rest = args[at], args[at+1:]
	values := valuesOf[call.Command]
	for i := 0; i < len(call.Rest); {
		word := call.Rest[i]
		switch {
		case word == "--":
			call.words = append(call.words, call.Rest[i+1:]...)
			i = len(call.Rest)
		case word == "-" || !strings.HasPrefix(word, "-"):
			call.words = append(call.words, word)
			i++
		default:
			i += call.options.take(call.Rest[i:], values)
		}
	}
	return call
}

// take reads the option at the front of args and returns how many words it has.
func (o options) take(args []string, values map[string]bool) int {
	name := strings.TrimLeft(args[0], "-")
	if name, value, ok := strings.Cut(name, "="); ok {
		o[name] = value
		return 1
	}
	if values[name] && len(args) > 1 {
		o[name] = args[1]
		return 2
	}
	o[name] = "true"
	return 1
}

// ID returns the container id, or "" if it is missing or could not be the name of a file.
func (c Call) ID() string {
	if len(c.words) == 0 {
		return ""
	}
	id := c.words[0]
	if id == "." || id == ".." || strings.ContainsAny(id, "/\x00") {
		return ""
	}
	return id
}

// Option returns the value of the first of names that was given.
func (c Call) Option(names ...string) string {
	for _, n := range names {
		if v, ok := c.options[n]; ok {
			return v
		}
	}
	return ""
}

// Switch reports whether a switch of the command is on.
func (c Call) Switch(name string) bool {
	v, ok := c.options[name]
	return ok && v != "false" && v != "0"
}

// Global returns the value of a global option.
func (c Call) Global(name string) string { return c.globals[name] }
