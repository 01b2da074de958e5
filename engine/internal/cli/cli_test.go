package cli

import (
	"strings"
	"testing"
)

func TestTheContainerIsFoundWhereverRuncFindsIt(t *testing.T) {
	for line, want := range map[string][3]string{
		"create --bundle /b --pid-file p abc":                                      {"create", "abc", "/b"},
		"--root /r --log /l --log-format json --systemd-cgroup create -b /b abc":   {"create", "abc", "/b"},
		"--root=/r create --no-pivot --bundle=/b abc":                              {"create", "abc", "/b"},
		"create abc --bundle /b":                                                   {"create", "abc", "/b"},
		"create -bundle /b -- abc":                                                 {"create", "abc", "/b"},
		"--debug create --preserve-fds 2 --console-socket s abc":                   {"create", "abc", ""},
		"delete --force abc":                                                       {"delete", "abc", ""},
		"checkpoint --file-locks --image-path i --work-path w --leave-running abc": {"checkpoint", "abc", ""},
		"state ../../etc":                                                          {"state", "", ""},
		"--version":                                                                {"", "", ""},
		"checkpoint --help":                                                        {"checkpoint", "", ""},
		"":                                                                         {"", "", ""},
		"--root":                                                                   {"", "", ""},
	} {
		call := Parse(strings.Fields(line))
		if got := [3]string{call.Command, call.ID(), call.Option("bundle", "b")}; got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

func TestOptionsAndSwitches(t *testing.T) {
	call := Parse(strings.Fields("--root /r checkpoint --image-path=i --leave-running --tcp-established=false id"))
	if call.Global("root") != "/r" || call.Option("image-path") != "i" {
		t.Errorf("options: %+v", call)
	}
	if !call.Switch("leave-running") || call.Switch("tcp-established") || call.Switch("pre-dump") {
		t.Errorf("switches: %+v", call)
	}
	if len(call.Globals) != 2 {
		t.Errorf("globals: %q", call.Globals)
	}
}
