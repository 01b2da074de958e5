// Package fits decides whether a checkpoint fits a new container. No I/O.
package fits

import (
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"
	"sync"

	"reprise.dev/engine/internal/bundle"
)

// Difference returns what differs between the checkpoint's spec and the new container's, or "" if it fits.
// For another pod than the one that was checkpointed, only the names of environment variables are compared:
// the downward API gives them other values there.
func Difference(checkpoint, container bundle.Spec) string {
	samePod := checkpoint.Identity().PodUID == container.Identity().PodUID
	for _, differs := range []string{
		image(checkpoint, container),
		command(checkpoint.Process.Args, container.Process.Args),
		environment(checkpoint.Process.Env, container.Process.Env, samePod),
		mounts(checkpoint, container),
	} {
		if differs != "" {
			return differs
		}
	}
	return ""
}

func image(old, now bundle.Spec) string {
	a, b := old.Image(), now.Image()
	if old.Identity().Runtime != now.Identity().Runtime {
		return fmt.Sprintf("the checkpoint was taken on %s", old.Identity().Runtime)
	}
	// The content's id if both have it, the name otherwise: a tag can move.
	if a.Ref != "" && b.Ref != "" {
		if a.Ref == b.Ref {
			return ""
		}
	} else if a.Requested == b.Requested {
		return ""
	}
	return fmt.Sprintf("the image differs: %q, now %q", a.Requested, b.Requested)
}

func command(old, now []string) string {
	if slices.Equal(old, now) {
		return ""
	}
	return fmt.Sprintf("the command line differs: %q, now %q", old, now)
}

func environment(old, now []string, values bool) string {
	a, b := ownVariables(old), ownVariables(now)
	for _, name := range names(a) {
		value, ok := b[name]
		if !ok {
			return "the environment differs: " + name + " is gone"
		}
		if values && value != a[name] {
			return "the environment differs: another value of " + name
		}
	}
	for _, name := range names(b) {
		if _, ok := a[name]; !ok {
			return "the environment differs: " + name + " is new"
		}
	}
	return ""
}

// Compiled when it is needed: most calls of the engine compare nothing.
var ofService = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(.+?)_(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)
})

// ownVariables leaves out HOSTNAME and what Kubernetes makes of Services. DB_PORT is such a variable only
// beside DB_SERVICE_HOST and DB_SERVICE_PORT: users have ports of their own.
func ownVariables(env []string) map[string]string {
	all := map[string]string{}
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		all[name] = value
	}
	own := map[string]string{}
	for name, value := range all {
		if name == "HOSTNAME" {
			continue
		}
		if m := ofService().FindStringSubmatch(name); m != nil {
			_, host := all[m[1]+"_SERVICE_HOST"]
			_, port := all[m[1]+"_SERVICE_PORT"]
			if host && port {
				continue
			}
		}
		own[name] = value
	}
	return own
}

func names(variables map[string]string) []string {
	list := make([]string, 0, len(variables))
	for name := range variables {
		list = append(list, name)
	}
	sort.Strings(list)
	return list
}

func mounts(old, now bundle.Spec) string {
	a, b := mountTypes(old), mountTypes(now)
	for _, destination := range names(a) {
		kind, ok := b[destination]
		if !ok {
			return "the mounts differ: " + destination + " is gone"
		}
		if kind != a[destination] {
			return fmt.Sprintf("the mounts differ: %s was a %s, now %s", destination, a[destination], kind)
		}
	}
	for _, destination := range names(b) {
		if _, ok := a[destination]; !ok {
			return "the mounts differ: " + destination + " is new"
		}
	}
	return ""
}

func mountTypes(spec bundle.Spec) map[string]string {
	types := map[string]string{}
	for _, m := range spec.Mounts {
		types[m.Destination] = m.Type
	}
	return types
}
