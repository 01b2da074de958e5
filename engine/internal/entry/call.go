package entry

import "unsafe"

// arguments are what the kernel passed: the number of words, a pointer to each, zero, and pointers to the environment's.
type arguments struct{ stack unsafe.Pointer }

func (a arguments) count() int          { return *(*int)(a.stack) }
func (a arguments) slot(i int) *uintptr { return (*uintptr)(unsafe.Add(a.stack, (i+1)*8)) }

// get returns a word, or "" behind the last one.
func (a arguments) get(i int) string {
	if i >= a.count() {
		return ""
	}
	from, n := *(*unsafe.Pointer)(unsafe.Pointer(a.slot(i))), 0
	for *(*byte)(unsafe.Add(from, n)) != 0 {
		n++
	}
	return view(from, n)
}

// view returns n bytes as a string. unsafe.String would call the runtime.
func view(from unsafe.Pointer, n int) string {
	header := struct {
		from unsafe.Pointer
		n    int
	}{from, n}
	return *(*string)(unsafe.Pointer(&header))
}

// call is what matters here of a command line.
type call struct{ root, command, id, bundle string }

// parse reads a command line as cli.Parse does (TestACommandLineIsReadAsTheEngineReadsIt).
func parse(words arguments) call {
	c, i, n := call{}, 1, words.count()
	for i < n && isOption(words.get(i)) {
		name, value, used := option(words, i, isGlobalValue(named(words.get(i))))
		if name == "root" {
			c.root = value
		}
		i += used
	}
	c.command = words.get(i)
	identified, long := false, false // --bundle counts, not -b
	for i++; i < n; {
		word := words.get(i)
		if isOption(word) {
			name, value, used := option(words, i, c.command == "create" && isCreateValue(named(word)))
			if name == "bundle" || name == "b" && !long {
				c.bundle, long = value, name == "bundle"
			}
			i += used
			continue
		}
		rest := word == "--"
		if rest {
			word = words.get(i + 1)
		}
		if !identified {
			c.id, identified = word, true
		}
		if rest {
			break
		}
		i++
	}
	return c
}

func isOption(word string) bool { return at(word, 0) == '-' && word != "-" && word != "--" }

// named returns an option without its dashes.
func named(word string) string {
	i := 0
	for at(word, i) == '-' {
		i++
	}
	return cut(word, i, len(word))
}

// option reads the option at i: used is the number of its words.
func option(words arguments, i int, takesValue bool) (name, value string, used int) {
	name = named(words.get(i))
	for j := 0; j < len(name); j++ {
		if at(name, j) == '=' {
			return cut(name, 0, j), cut(name, j+1, len(name)), 1
		}
	}
	if takesValue && i+1 < words.count() {
		return name, words.get(i + 1), 2
	}
	return name, "true", 1
}

func isGlobalValue(name string) bool {
	switch name {
	case "log", "log-format", "root", "criu", "rootless":
		return true
	}
	return false
}

func isCreateValue(name string) bool {
	switch name {
	case "bundle", "b", "console-socket", "pidfd-socket", "pid-file", "preserve-fds":
		return true
	}
	return false
}

// calledTar reports whether the engine would be CRIU's tar (cmd/reprise-runc), or might be.
func calledTar(word string) bool {
	n := len(word)
	return at(word, n-1) == '/' || cut(word, n-3, n) == "tar"
}

// safe reports whether a name can be that of a file.
func safe(name string) bool {
	for i := 0; i < len(name); i++ {
		if at(name, i) == '/' {
			return false
		}
	}
	return name != "" && name != "." && name != ".."
}
