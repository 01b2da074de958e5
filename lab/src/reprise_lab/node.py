"""A node: overlay root, own namespaces and cgroups; a container runtime, kubelet and kube-proxy inside.

Power off is kill -9 of all.
"""

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from reprise_lab import containerd, kind, network
from reprise_lab.configs import files
from reprise_lab.kind import Runtime
from reprise_lab.paths import CGROUP, CONTROLLERS, HOME, NETNS, NODES, PACKAGE, PKI, RUN
from reprise_lab.shell import LabError, children, daemon, gone, kill, kubectl, pid_of, poll, stop, write_pid

COMPONENTS = (*Runtime, "kubelet", "kube-proxy")
"""A node runs one of the runtimes."""
NODE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Node:
    """One of paths.NODES."""

    def __init__(self, name: str) -> None:
        if name not in NODES:
            raise LabError(f"there is no node {name!r}: use {' or '.join(NODES)}")
        self.name, self.ip = name, NODES[name]
        self.home = RUN / name

    @property
    def init_pid(self) -> int | None:
        return pid_of(f"{self.name}/init")

    @property
    def kind(self) -> kind.Kind:
        return kind.current()

    @property
    def root(self) -> Path:
        """The node's root as the host can read it."""
        pid = self.init_pid
        if pid is None:
            raise LabError(f"node {self.name} is off: `reprise-lab node start {self.name}`")
        return Path(f"/proc/{pid}/root")

    def up(self) -> None:
        """Boot; returns when this boot's kubelet has reported Ready."""
        if self.init_pid:
            for component in (self.kind.runtime, "kubelet", "kube-proxy"):  # one that was killed is started again
                self.start(component)
            return
        started = time.time()
        network.up()
        self._configure()
        self._cgroups()
        self._boot()
        runtime = self.kind.runtime
        self.start(runtime)
        poll(30, (self.root / self.kind.socket[1:]).is_socket, f"{runtime}; see {self.home}/{runtime}.log")
        if runtime is Runtime.CONTAINERD:
            self.take_images()
        self.start("kubelet")
        self.start("kube-proxy")
        poll(60, lambda: self._ready(started), f"{self.name} Ready; see {self.home}/kubelet.log", 0.2)
        network.route_services(on())

    def off(self) -> None:
        """The power cut: everything in the pid namespace dies with its init, and the link is gone."""
        network.detach(f"{NETNS}-{self.name}", self.ip)
        network.route_services(name for name in on() if name != self.name)
        init = self.init_pid
        if init:
            kill(init, signal.SIGKILL)
            poll(20, lambda: self._thawed() and gone(init), f"the processes of {self.name} to end")
        stop(f"{self.name}/init", signal.SIGKILL)
        for component in COMPONENTS:
            stop(f"{self.name}/{component}", signal.SIGKILL)
        kill_stragglers(self.name)
        remove_cgroups(self.name)  # a kernel that starts anew has none; the kubelet would look for their containers

    def _thawed(self) -> bool:
        """What is frozen, as in the middle of a checkpoint, does not die of a SIGKILL before it is thawed."""
        for state in (CGROUP / "freezer" / NETNS / self.name).rglob("freezer.state"):
            with suppress(OSError):  # its container's cgroup was removed meanwhile
                if state.read_text().strip() != "THAWED":
                    state.write_text("THAWED")
        return True

    def start(self, component: str) -> None:
        kubernetes = Path("/lab/bin") / self.kind.kubernetes.folder
        command = {
            "crio": ["/lab/bin/crio"],
            "containerd": ["/usr/bin/containerd"],
            "kubelet": [
                f"{kubernetes}/kubelet", "--config", "/etc/kubernetes/kubelet.yaml", "--kubeconfig",
                f"/lab/pki/{self.name}.kubeconfig", "--hostname-override", self.name, "--node-ip", self.ip, "--v=2",
            ],
            "kube-proxy": [f"{kubernetes}/kube-proxy", "--config", "/etc/kubernetes/kube-proxy.yaml"],
        }[component]  # fmt: skip
        daemon(f"{self.name}/{component}", *self._enter(), "env", f"PATH={NODE_PATH}", *command, before=self._join_cgroups)

    def take_images(self) -> None:
        """containerd only: bring the images that its store lacks."""
        containerd.bring(self.home / "data" / containerd.STATE, self.exec)

    def exec(self, *command: str, check: bool = True) -> str:
        """Run inside the node and return its output."""
        words = [str(w) for w in (*self._enter(), *command)]
        done = subprocess.run(words, capture_output=True, text=True, check=False, preexec_fn=self._join_cgroups)
        if check and done.returncode:
            raise LabError(f"on {self.name}, `{' '.join(command[:4])}` failed: {(done.stderr or done.stdout).strip()[-1000:]}")
        return done.stdout

    def shell(self, *command: str) -> int:
        words = [str(w) for w in (*self._enter(), *(command or ("/bin/bash",)))]
        return subprocess.run(words, check=False, preexec_fn=self._join_cgroups).returncode

    def _enter(self) -> list[object]:
        pid = self.init_pid
        if pid is None:
            raise LabError(f"node {self.name} is off: `reprise-lab node start {self.name}`")
        return ["nsenter", "-t", pid, "-m", "-u", "-i", "-n", "-p", "-C", "--root", "--wd"]

    def _join_cgroups(self) -> None:
        """setns moves no process between cgroups: join them first, then nsenter -C."""
        for controller in CONTROLLERS:
            (CGROUP / controller / NETNS / self.name / "cgroup.procs").write_text(str(os.getpid()))

    def _cgroups(self) -> None:
        for controller in CONTROLLERS:
            parent = CGROUP / controller / NETNS
            (parent / self.name).mkdir(parents=True, exist_ok=True)
            if controller == "cpuset":  # an empty cpuset takes no process
                for folder in (parent, parent / self.name):
                    for knob in ("cpuset.cpus", "cpuset.mems"):
                        (folder / knob).write_text((CGROUP / "cpuset" / knob).read_text())

    def _configure(self) -> None:
        """Into the overlay's upper layer, before it is mounted."""
        for folder in ("upper", "work", "root", "data", "pki"):
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        for name in (
            "ca.crt",
            "kube-proxy.kubeconfig",
            f"{self.name}.crt",
            f"{self.name}.key",
            f"{self.name}.kubeconfig",
        ):
            (self.home / "pki" / name).write_bytes((PKI / name).read_bytes())
        if self.kind.runtime is Runtime.CONTAINERD:
            containerd.furnish(self.home / "data" / containerd.STATE)
        for path, text in files(self.name, self.ip, self.kind).items():
            target = self.home / "upper" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)

    def _boot(self) -> None:
        outer = daemon(
            f"{self.name}/boot", "nsenter", f"--net=/run/netns/{NETNS}-{self.name}",
            "unshare", "-m", "-p", "-f", "-u", "-i", "-C",
            PACKAGE / "scripts/node-init.sh", self.name, HOME, self.home, self.kind.cgroup, before=self._join_cgroups,
        )  # fmt: skip
        poll(10, lambda: bool(children(outer)), f"node {self.name} to start; see {self.home}/boot.log")
        pid = children(outer)[0]
        write_pid(f"{self.name}/init", pid)
        marker = Path(f"/proc/{pid}/root/run/lab-node")
        poll(10, marker.exists, f"node {self.name} to boot; see {self.home}/boot.log")

    def _ready(self, since: float) -> bool:
        """A node that was Ready before its power cut still reads Ready: only a heartbeat of this boot counts."""
        self.start("kubelet")  # as its unit would: it ends where containerd has a socket and does not serve yet
        text = kubectl("get", "node", self.name, "-o", "json", check=False)
        if not text:
            return False
        for condition in json.loads(text)["status"].get("conditions", []):
            if condition["type"] == "Ready" and condition["status"] == "True":
                return datetime.fromisoformat(condition["lastHeartbeatTime"]).timestamp() >= int(since)
        return False


def on() -> list[str]:
    """The nodes that are."""
    return [name for name in NODES if Node(name).init_pid]


def remove_cgroups(name: str = "") -> None:
    """The lab's, or a node's. Bottom up; a cgroup whose last process was just killed may need a moment."""
    end = time.monotonic() + 5
    for controller in CONTROLLERS:
        top = CGROUP / controller / NETNS / name
        while top.exists() and time.monotonic() < end:
            for folder in (*sorted((p for p in top.rglob("*/")), key=lambda p: -len(p.parts)), top):
                with suppress(OSError):
                    folder.rmdir()
            if top.exists():
                time.sleep(0.05)


def kill_stragglers(name: str = "") -> None:
    """Whatever still runs in the lab's cgroups, or a node's, is ours: an interrupted boot leaves processes without a pid file."""
    for folder in (CGROUP / "pids" / NETNS / name).rglob("cgroup.procs"):
        with suppress(OSError):  # removed meanwhile
            for line in folder.read_text().split():
                kill(int(line), signal.SIGKILL)
