package lifecycle

import (
	"os"
	"path/filepath"
	"testing"

	"reprise.dev/engine/internal/cli"
	"reprise.dev/engine/internal/nodefiles"
)

func TestARestoredContainerIsCreatedUntilItsStart(t *testing.T) {
	for _, c := range []struct {
		state string
		alive bool
		want  string
	}{
		{`{"id": "a", "status": "running", "pid": 7, "x": {"status": "running"}}`, true,
			`{"id": "a", "status": "created", "pid": 7, "x": {"status": "running"}}`},
		{`{"status":"paused"}`, true, `{"status":"created"}`},
		{`{"status": "paused"}`, false, `{"status": "paused"}`},
		{`{"status": "running"}`, false, `{"status": "running"}`},
		{`{"status": "stopped"}`, true, `{"status": "stopped"}`},
		{`not json "status": "running"`, true, `not json "status": "running"`},
	} {
		if got := string(Told([]byte(c.state), "created", c.alive)); got != c.want {
			t.Errorf("%s (alive %v): %s", c.state, c.alive, got)
		}
	}
}

func TestOneThatStandsStillRuns(t *testing.T) {
	for state, want := range map[string]string{
		`{"status": "paused", "pid": 7}`:  `{"status": "running", "pid": 7}`,
		`{"status": "running", "pid": 7}`: `{"status": "running", "pid": 7}`,
		`{"status": "stopped", "pid": 0}`: `{"status": "stopped", "pid": 0}`,
	} {
		if got := string(Told([]byte(state), "running", true)); got != want {
			t.Errorf("%s: %s", state, got)
		}
	}
}

func TestOneThatIsProtectedSinceItRunsIsOursToo(t *testing.T) {
	dir := t.TempDir()
	write := func(path, content string) {
		path = filepath.Join(dir, path)
		os.MkdirAll(filepath.Dir(path), 0o700)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for id, container := range map[string]string{"started": "x", "listed": "app", "unlisted": "sidecar"} {
		write("runc/"+id+"/state.json", `{"config": {"labels": ["io.kubernetes.cri-o.ContainerType=container",
			"io.kubernetes.pod.uid=u1", "io.kubernetes.container.name=`+container+`", "bundle=/b"]}}`)
	}
	write("starts/started.json", "{}")
	write("pods/u1.json", `{"version": 1, "containers": {"app": {"verdict": "restore"}}}`)
	store := nodefiles.Store{Config: nodefiles.Config{RunDir: dir}, Warn: t.Logf}
	for id, want := range map[string]bool{"started": true, "listed": true, "unlisted": false, "nobody": false} {
		if got := Ours(store, cli.Parse([]string{"--root", filepath.Join(dir, "runc"), "state", id})); got != want {
			t.Errorf("%s: %v", id, got)
		}
	}
}
