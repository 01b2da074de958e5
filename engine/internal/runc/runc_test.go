package runc

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The test binary is also the engine that is killed: it starts a child and waits for it.
func TestMain(m *testing.M) {
	if os.Getenv("REPRISE_TEST_STARTS") != "" {
		cmd := exec.Command("sleep", "60")
		done, err := StartTied(cmd)
		if err != nil {
			os.Exit(1)
		}
		os.Stdout.WriteString(strconv.Itoa(cmd.Process.Pid) + "\n")
		<-done
	}
	os.Exit(m.Run())
}

func TestAChildLivesAsLongAsTheEngineDoes(t *testing.T) {
	self, _ := os.Executable()
	engine := exec.Command(self)
	engine.Env = append(os.Environ(), "REPRISE_TEST_STARTS=1")
	out, _ := engine.StdoutPipe()
	if err := engine.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	child, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	// Long enough for a thread that is not held to have done something else.
	time.Sleep(200 * time.Millisecond)
	if !runs(child) {
		t.Error("the child ended while the engine ran")
	}
	engine.Process.Kill()
	engine.Wait()
	for began := time.Now(); runs(child); time.Sleep(time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatal("the child outlived the engine")
		}
	}
}

func TestRunHasAnEnd(t *testing.T) {
	if err := Run("/bin/sleep", []string{"60"}, 50*time.Millisecond, nil); err != ErrTimeout {
		t.Errorf("%v", err)
	}
	stop := make(chan struct{})
	close(stop)
	if err := Run("/bin/sleep", []string{"60"}, time.Minute, stop); err != ErrTimeout {
		t.Errorf("stopped: %v", err)
	}
	var exit *exec.ExitError
	if err := Run("/bin/false", nil, time.Minute, nil); !errors.As(err, &exit) {
		t.Errorf("%v", err)
	}
	if err := Run("/nonexistent", nil, time.Minute, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
