package fits

import (
	"encoding/json"
	"strings"
	"testing"

	"reprise.dev/engine/internal/bundle"
)

func spec(t *testing.T, change func(map[string]any)) bundle.Spec {
	t.Helper()
	raw := map[string]any{
		"process": map[string]any{"args": []string{"app", "-v"}, "env": []string{"A=1", "HOSTNAME=x"}},
		"mounts":  []map[string]any{{"destination": "/data", "type": "bind"}},
		"annotations": map[string]string{
			"io.kubernetes.cri-o.ContainerType": "container", "io.kubernetes.pod.uid": "u1",
			"io.kubernetes.cri-o.Image": "app:1", "io.kubernetes.cri-o.ImageRef": "sha1",
		},
	}
	if change != nil {
		change(raw)
	}
	encoded, _ := json.Marshal(raw)
	var s bundle.Spec
	if err := json.Unmarshal(encoded, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func env(list ...string) func(map[string]any) {
	return func(raw map[string]any) { raw["process"].(map[string]any)["env"] = list }
}

func annotated(key, value string) func(map[string]any) {
	return func(raw map[string]any) { raw["annotations"].(map[string]string)[key] = value }
}

func TestWhatFits(t *testing.T) {
	for name, c := range map[string]struct {
		now  func(map[string]any)
		want string // part of the difference; "" fits
	}{
		"the same":                   {nil, ""},
		"another hostname":           {env("A=1", "HOSTNAME=y"), ""},
		"a Service came":             {env("A=1", "DB_SERVICE_HOST=1", "DB_SERVICE_PORT=1", "DB_PORT=1", "DB_PORT_80_TCP_ADDR=1"), ""},
		"a port of the user's":       {env("A=1", "DB_PORT=1"), "DB_PORT is new"},
		"another value":              {env("A=2"), "value of A"},
		"a variable is gone":         {env(), "A is gone"},
		"another image":              {annotated("io.kubernetes.cri-o.ImageRef", "sha2"), "image"},
		"the same image, other name": {annotated("io.kubernetes.cri-o.Image", "app:latest"), ""},
		"another command":            {func(r map[string]any) { r["process"].(map[string]any)["args"] = []string{"app"} }, "command line"},
		"a mount more": {func(r map[string]any) {
			r["mounts"] = []map[string]any{{"destination": "/data", "type": "bind"}, {"destination": "/x", "type": "bind"}}
		}, "/x is new"},
		"a mount less": {func(r map[string]any) { r["mounts"] = []map[string]any{} }, "/data is gone"},
		"another type": {func(r map[string]any) {
			r["mounts"] = []map[string]any{{"destination": "/data", "type": "tmpfs"}}
		}, "was a bind"},
		"another runtime": {func(r map[string]any) {
			r["annotations"] = map[string]string{"io.kubernetes.cri.container-type": "container"}
		}, "taken on cri-o"},
	} {
		got := Difference(spec(t, nil), spec(t, c.now))
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestForAnotherPodOnlyTheNamesOfVariablesCount(t *testing.T) {
	elsewhere := func(list ...string) func(map[string]any) {
		return func(r map[string]any) { env(list...)(r); annotated("io.kubernetes.pod.uid", "u2")(r) }
	}
	if got := Difference(spec(t, nil), spec(t, elsewhere("A=2"))); got != "" {
		t.Errorf("another value in another pod: %q", got)
	}
	if got := Difference(spec(t, nil), spec(t, elsewhere("A=1", "B=1"))); got == "" {
		t.Error("another name in another pod fits")
	}
}
