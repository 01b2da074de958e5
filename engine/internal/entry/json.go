package entry

// status is how sure a reading is. Unsure: the engine has to look.
type status byte

const (
	absent status = iota
	found
	unsure
)

// lookup returns a member of an object as it is written; or, of runc's list of labels "name=value", the value. What the engine's
// decoder might take for the same name (another case, an escape, a second time) is unsure.
func lookup(group, name string) (value string, s status) {
	open := at(group, 0)
	if open != '{' && open != '[' {
		return "", unsure
	}
	for m := next(group, open, 1, deepest); m.ok; m = next(group, open, m.end, deepest) {
		if open == '[' {
			m = labelled(m)
		}
		switch {
		case !plain(m.key), m.key != name && alike(m.key, name), m.key == name && s == found:
			return "", unsure
		case m.key == name:
			value, s = m.value, found
		}
	}
	return value, s
}

// labelled splits a label. What is none gets a name that is unsure.
func labelled(m member) member {
	i, end := 1, len(m.value)-1
	for i < end && at(m.value, i) != '=' {
		i++
	}
	if at(m.value, 0) != '"' || i >= end {
		m.key = "\x00"
		return m
	}
	m.key, m.value = cut(m.value, 1, i), cut(m.value, i+1, end)
	return m
}

// text is a lookup of a string, or of a label. Only plain characters are sure.
func text(group, name string) (value string, s status) {
	value, s = lookup(group, name)
	if s == found && at(group, 0) == '{' {
		if at(value, 0) != '"' {
			return "", unsure
		}
		value = cut(value, 1, len(value)-1)
	}
	if !plain(value) {
		return "", unsure
	}
	return value, s
}

// whole returns the one object that a file consists of, or "".
func whole(file string) string {
	from := space(file, 0)
	to := value(file, from, deepest)
	if at(file, from) != '{' || to == malformed || space(file, to) != len(file) {
		return ""
	}
	return cut(file, from, to)
}

const (
	malformed = -1
	deepest   = 32
)

// member is one of an object, or one of an array, where key is "". If it is not ok there are no more: end is behind the group.
type member struct {
	key, value string
	end        int
	ok         bool
}

// next reads the member that follows end, which is behind the group's opening bracket or behind the member before.
func next(file string, open byte, end, depth int) member {
	bad := member{end: malformed}
	i := space(file, end)
	if at(file, i) == open+2 { // the closing one, in ASCII
		return member{end: i + 1}
	}
	if at(file, end-1) != open { // no value ends with it
		if at(file, i) != ',' {
			return bad
		}
		i = space(file, i+1)
	}
	m := member{}
	if open == '{' {
		to := quoted(file, i)
		m.key = cut(file, i+1, to-1)
		i = space(file, to)
		if at(file, i) != ':' {
			return bad
		}
		i = space(file, i+1)
	}
	m.end = value(file, i, depth)
	m.value, m.ok = cut(file, i, m.end), m.end != malformed
	return m
}

// value returns the end of the value at i.
func value(file string, i, depth int) int {
	switch c := at(file, i); {
	case c == '"':
		return quoted(file, i)
	case c == '{', c == '[':
		m := member{end: i + 1, ok: depth > 0}
		for m.ok {
			m = next(file, c, m.end, depth-1)
		}
		if depth == 0 {
			return malformed
		}
		return m.end
	case cut(file, i, i+4) == "true", cut(file, i, i+4) == "null":
		return i + 4
	case cut(file, i, i+5) == "false":
		return i + 5
	}
	return number(file, i)
}

// number returns the end of an integer. Others are left to the engine.
func number(file string, i int) int {
	if at(file, i) == '-' {
		i++
	}
	if at(file, i) == '0' {
		return i + 1
	}
	from := i
	for c := at(file, i); '0' <= c && c <= '9'; c = at(file, i) {
		i++
	}
	if i == from {
		return malformed
	}
	return i
}

// quoted returns the end of the string at i. It does not look at what is escaped: see escapes.
func quoted(file string, i int) int {
	if at(file, i) != '"' {
		return malformed
	}
	for i++; i < len(file); i++ {
		switch c := at(file, i); {
		case c == '"':
			return i + 1
		case c == '\\':
			i++
		case c < ' ':
			return malformed
		}
	}
	return malformed
}

func space(file string, i int) int {
	for c := at(file, i); c == ' ' || c == '\t' || c == '\r' || c == '\n'; c = at(file, i) {
		i++
	}
	return i
}

// plain reports whether a string is what it looks like: printable ASCII, nothing escaped.
func plain(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := at(s, i); c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func escapes(s string) bool {
	for i := 0; i < len(s); i++ {
		if at(s, i) == '\\' {
			return true
		}
	}
	return false
}

// alike reports whether two strings differ at most in the case of letters, which Go's decoder ignores in names.
func alike(a, b string) bool {
	for i := 0; i < len(a); i++ {
		if lower(at(a, i)) != lower(at(b, i)) {
			return false
		}
	}
	return len(a) == len(b)
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// at returns the byte at i, or 0 outside of s.
func at(s string, i int) byte {
	if uint(i) < uint(len(s)) {
		return s[i]
	}
	return 0
}

// cut returns s[from:to], or "" if that is not within s.
func cut(s string, from, to int) string {
	if uint(from) <= uint(to) && uint(to) <= uint(len(s)) {
		return s[from:to]
	}
	return ""
}
