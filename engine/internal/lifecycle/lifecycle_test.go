package lifecycle

import "testing"

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
