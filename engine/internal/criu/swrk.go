package criu

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"reprise.dev/engine/internal/runc"
)

// Dump is a request to CRIU. It says what runc says (libcontainer/criu_linux.go), so that runc can restore it.
type Dump struct {
	Images, Work string // folders; they must exist
	Config       string // CRIU configuration file, "" for none
	Root         string
	Pid          int
	FreezeCgroup string
	External     []string          // net[inode]:key
	Mounts       map[string]string // mounts that come from outside, by their place in the container
	LeaveRunning bool
	ExtUnix      bool
	ShellJob     bool
	FileLocks    bool
	LinkRemap    bool

	// BeforeFreeze is called right before CRIU freezes the processes: everything that can be prepared is.
	BeforeFreeze func() error
}

// Types of criu_req and criu_resp (images/rpc.proto).
const (
	typeDump   = 1
	typeNotify = 6
)

// ErrDump is returned when CRIU refuses; its log says why.
var ErrDump = errors.New("criu dump failed")

func (d Dump) request(images, work int) message {
	var opts message
	opts.varint(1, uint64(images))
	opts.varint(2, uint64(d.Pid))
	opts.flag(3, d.LeaveRunning)
	opts.flag(4, d.ExtUnix)
	opts.flag(7, d.ShellJob)
	opts.flag(8, d.FileLocks)
	opts.varint(9, 4) // log level: what the causes are parsed from
	opts.text(10, "dump.log")
	opts.flag(12, true) // notify_scripts: tells when the freeze is due
	opts.text(13, d.Root)
	opts.varint(17, uint64(work))
	opts.flag(18, d.LinkRemap)
	for inside, outside := range d.Mounts {
		var mount message
		mount.text(1, inside)
		mount.text(2, outside)
		opts.bytes(23, mount)
	}
	opts.flag(24, true)
	opts.varint(34, 0) // manage_cgroups_mode: ignore. Else every cgroup of the node is dumped.
	for _, e := range d.External {
		opts.text(37, e)
	}
	opts.varint(38, syscall.CLONE_NEWNET) // empty_ns, as runc
	if d.FreezeCgroup != "" {
		opts.text(44, d.FreezeCgroup)
	}
	opts.flag(50, true) // orphan_pts_master
	if d.Config != "" {
		opts.text(51, d.Config)
	}
	var request message
	request.varint(1, typeDump)
	request.bytes(2, opts)
	return request
}

// Prepared is a `criu swrk` that waits for its request: its start need not be part of the pause.
type Prepared struct {
	process *exec.Cmd
	ended   <-chan error
	socket  int
}

// Start starts `criu swrk` with this environment.
func Start(criu string, environment []string) (*Prepared, error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	theirs := os.NewFile(uintptr(pair[1]), "criu")
	defer theirs.Close()
	process := exec.Command(criu, "swrk", "3")
	process.ExtraFiles, process.Env = []*os.File{theirs}, environment
	// A process group of its own: it can be ended with everything it started.
	process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	ended, err := runc.StartTied(process)
	if err != nil {
		syscall.Close(pair[0])
		return nil, err
	}
	return &Prepared{process: process, ended: ended, socket: pair[0]}, nil
}

// Kill ends CRIU and what it started.
func (p *Prepared) Kill() { syscall.Kill(-p.process.Process.Pid, syscall.SIGKILL) }

// Close ends the conversation and waits for CRIU to end.
func (p *Prepared) Close() error {
	syscall.Close(p.socket)
	return <-p.ended
}

// Run has CRIU perform the dump and returns when the processes are its no more.
func (p *Prepared) Run(d Dump) error {
	images, err := os.Open(d.Images)
	if err != nil {
		return err
	}
	defer images.Close()
	work, err := os.Open(d.Work)
	if err != nil {
		return err
	}
	defer work.Close()
	// CRIU opens them by /proc/<our pid>/fd; they need not be inherited.
	if err := p.send(d.request(int(images.Fd()), int(work.Fd()))); err != nil {
		return err
	}
	buffer := make([]byte, 64<<10)
	for {
		n, _, _, _, err := syscall.Recvmsg(p.socket, buffer, make([]byte, 4096), syscall.MSG_CMSG_CLOEXEC)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%w: criu ended without an answer", ErrDump)
		}
		answer := parse(buffer[:n])
		if answer.kind != typeNotify {
			if answer.success && answer.kind == typeDump {
				return nil
			}
			return fmt.Errorf("%w: errno %d %s", ErrDump, answer.errno, answer.message)
		}
		failed := false
		if answer.script == "pre-dump" && d.BeforeFreeze != nil {
			err = d.BeforeFreeze()
			failed = err != nil
		}
		var reply message
		reply.varint(1, typeNotify)
		reply.flag(3, !failed)
		if sendErr := p.send(reply); sendErr != nil {
			return sendErr
		}
		if failed {
			return err
		}
	}
}

func (p *Prepared) send(m message) error { return syscall.Sendmsg(p.socket, m, nil, nil, 0) }

type response struct {
	kind    uint64
	success bool
	errno   uint64
	message string
	script  string
}

func parse(raw []byte) response {
	var r response
	decode(raw, func(field int, value uint64) {
		switch field {
		case 1:
			r.kind = value
		case 2:
			r.success = value != 0
		case 7:
			r.errno = value
		}
	}, func(field int, value []byte) {
		switch field {
		case 5:
			decode(value, nil, func(field int, value []byte) {
				if field == 1 {
					r.script = string(value)
				}
			})
		case 9:
			r.message = string(value)
		}
	})
	return r
}

// Version returns what `criu --version` says.
func Version(criu string) string {
	out, _ := exec.Command(criu, "--version").Output()
	for _, line := range strings.Split(string(out), "\n") {
		if v, ok := strings.CutPrefix(line, "Version: "); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// Connections are closed by a restore: their peers have gone on. So there is nothing to lock; and what CRIU locks for a
// restore stays locked when the restore fails (criu/cr-restore.c, out_kill): no packet reached that pod any more.
var connections = []string{"tcp-close", "network-lock skip"}

// WriteConfig writes a CRIU configuration file: these lines, and what always holds for connections.
func WriteConfig(path string, lines ...string) error {
	lines = slices.Concat(connections, lines)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}
