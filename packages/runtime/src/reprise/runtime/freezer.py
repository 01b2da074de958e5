"""The cgroup freezer, v1 (`freezer.state`) and v2 (`cgroup.freeze`).

What may not run again is frozen by its pod's cgroup: the container's own is thawed by whoever ends it. CRI-O resumes a container
that it takes for paused, as each one that it has checkpointed, before it sends the stop signal (internal/oci/runtime_oci.go,
StopLoopForContainer), and the process would do whatever it does at its end, beside the one that was restored of it.

Source: kernel Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst and cgroup-v2.rst.
"""

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

SETTLE_S = 1.0
ROOTS = ("kubepods*", "*/kubepods*", "*/*-kubepods.slice")
"""The kubelet's own cgroup: at the root, or below its `cgroupRoot` (kind: kubelet.slice/kubelet-kubepods.slice)."""
POD = re.compile(r"pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12})(?:\.slice)?$")
"""A pod's cgroup, by either driver of the kubelet's (pkg/kubelet/cm/cgroup_manager_linux.go); static pods have other UIDs."""


class CgroupFreezer:
    """root: the host's /sys/fs/cgroup as it is mounted here."""

    def __init__(self, root: str, proc: str = "/proc") -> None:
        v1 = Path(root) / "freezer"
        self._v1, self._proc = v1.is_dir(), Path(proc)
        self._root = v1 if self._v1 else Path(root)
        self._found: dict[str, Path] = {}

    def limitation(self) -> str:
        """Why containers of this node cannot be frozen from here; empty if they can. What the kernel says to writing it is known
        only then.
        """
        groups = self._kubepods()
        if not groups:
            return f"the kubelet's control groups are not below {self._root}"
        file = groups[0] / ("freezer.state" if self._v1 else "cgroup.freeze")
        if not file.is_file():
            return f"the kernel offers no {file}"
        if not os.access(file, os.W_OK):
            return f"{file} cannot be written"
        if self._v1 and self._is_blind():
            return "this node has cgroup v1, where what is frozen can be ended only from the node's own PID namespace (hostPID)"
        return ""

    def freeze(self, container_id: str) -> bool:
        """The container's whole pod."""
        group = self._group(container_id)
        if group is None or self._empty(group):
            return False
        self._write(group.parent, frozen=True)
        end = time.monotonic() + SETTLE_S
        while not self._read(group):
            if time.monotonic() > end:
                raise OSError(f"{group} did not freeze within {SETTLE_S} s")
            time.sleep(0.005)
        if self._empty(group):
            # Its process ended just then. Left frozen, runc would take it for paused, and CRI-O for running, for ever; and in a
            # frozen pod nothing can be started.
            self._write(group.parent, frozen=False)
            return False
        return True

    def thaw(self, container_id: str) -> None:
        """Its pod too."""
        if group := self._group(container_id):
            self._write(group, frozen=False)
            self._write(group.parent, frozen=False)

    def thaw_alone(self, container_id: str) -> None:
        if group := self._group(container_id):
            self._write(group, frozen=False)

    def is_gone(self, container_id: str) -> bool:
        """Whether the kernel has no process of it any more, but for what nobody has reaped yet."""
        group = self._group(container_id)
        if group is None or self._empty(group):
            return True
        return self._v1 and not self._is_blind() and not self._listed(group)

    def thaw_pod(self, pod_uid: str) -> None:
        """Whatever is left of it."""
        for group in self._pod(pod_uid):
            self._write(group, frozen=False)

    def _pod(self, uid: str) -> Iterator[Path]:
        for root in self._kubepods():
            for path in (*root.glob("*pod*"), *root.glob("*/*pod*")):
                if (found := POD.search(path.name)) and found[1].replace("_", "-") == uid:
                    yield path

    def kill(self, container_id: str) -> None:
        """SIGKILL to each process of it, which then runs no instruction any more, and thaw it; not its pod. Raises OSError if
        that cannot be done, and it is as before then.

        v1: a frozen process dies when it is thawed, its pod too. Without the signal to each, those beside the first would
        run until the kernel has ended their PID namespace.
        """
        group = self._group(container_id)
        if group is None:
            return
        if not self._v1:
            (group / "cgroup.kill").write_text("1")  # since Linux 5.14
        elif not self._empty(group):
            self._signal_all(group)
        self._write(group, frozen=False)

    def _is_blind(self) -> bool:
        """Whether this is a container's own PID namespace, in which the node's processes cannot be seen."""
        return 1 in (os.getpid(), os.getppid())

    def _signal_all(self, group: Path) -> None:
        """Frozen ones fork no others. One that has ended is counted until it is reaped, but not listed."""
        found = self._listed(group)
        if not found and self._is_blind():
            raise OSError(f"the processes of {group} cannot be seen from here: this is not the node's PID namespace (hostPID)")
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def runs(self, container_id: str) -> bool:
        """Whether it has a process that is not frozen: the end of a checkpoint's pause thaws what was frozen during it."""
        group = self._group(container_id)
        return group is not None and not self._read(group, freezing=True) and not self._empty(group)

    def is_frozen(self, container_id: str) -> bool:
        """Also while freezing: CRI-O pauses a container for the time of its checkpoint."""
        group = self._group(container_id)
        return group is not None and self._read(group, freezing=True)

    def waiting_tracers(self, container_id: str) -> frozenset[int]:
        """The processes that trace one of this frozen container, and sleep in the kernel where no signal wakes them.

        v1: who attaches to a process that a signal has stopped waits until that has moved on to being traced (kernel/ptrace.c,
        ptrace_attach, JOBCTL_TRAPPING). Frozen it cannot move, since freezing became a state of its own (Linux 6.1), so CRIU
        waits for what waits for CRIU: seen on 6.18, with a stopped child. The freezer of v2 lets ptrace through.
        """
        if not self._v1:
            return frozenset()
        group = self._group(container_id)
        if group is None or not self._itself(group):
            return frozenset()
        try:
            tracers = {self._tracer(pid) for pid in self._listed(group)} - {0}
        except OSError:  # the container has just ended
            return frozenset()
        return frozenset(tracer for tracer in tracers if self._sleeps(tracer))

    def _tracer(self, pid: int) -> int:
        """0: none."""
        try:
            status = (self._proc / str(pid) / "status").read_text()
        except OSError:
            return 0
        return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("TracerPid:")), 0)

    def _sleeps(self, pid: int) -> bool:
        try:
            return (self._proc / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == "D"
        except (OSError, IndexError):
            return False

    def _group(self, container_id: str) -> Path | None:
        cached = self._found.get(container_id)
        if cached and cached.is_dir():
            return cached
        for pods in self._kubepods():
            for path in pods.rglob(f"*{container_id}*"):
                if path.is_dir() and "conmon" not in path.name:
                    self._found[container_id] = path
                    return path
        self._found.pop(container_id, None)
        return None

    def _kubepods(self) -> list[Path]:
        if not self._root.is_dir():
            return []
        return next((found for pattern in ROOTS if (found := sorted(self._root.glob(pattern)))), [])

    def _listed(self, group: Path) -> list[int]:
        return [int(line) for procs in group.rglob("cgroup.procs") for line in procs.read_text().split()]

    def _write(self, group: Path, *, frozen: bool) -> None:
        if self._v1:
            (group / "freezer.state").write_text("FROZEN" if frozen else "THAWED")
        else:
            (group / "cgroup.freeze").write_text("1" if frozen else "0")

    def _empty(self, group: Path) -> bool:
        """Whether no process is left in it. Where that cannot be told it is not empty.

        v2: by the kernel's own word, which needs no controller; SIGKILL ends what is frozen there. v1: by the pids controller,
        which counts all; cgroup.procs shows only what is in the reader's own PID namespace.
        """
        try:
            if not self._v1:
                return "populated 0" in (group / "cgroup.events").read_text()
            return int((self._root.parent / "pids" / group.relative_to(self._root) / "pids.current").read_text()) == 0
        except FileNotFoundError:
            return not group.is_dir()
        except (OSError, ValueError):
            return False

    def _itself(self, group: Path) -> bool:
        """Whether this very cgroup was told to freeze, whatever those above it."""
        try:
            return (group / ("freezer.self_freezing" if self._v1 else "cgroup.freeze")).read_text().strip() == "1"
        except OSError:
            return False

    def _read(self, group: Path, *, freezing: bool = False) -> bool:
        try:
            if self._v1:
                state = (group / "freezer.state").read_text().strip()
                return state == "FROZEN" or (freezing and state == "FREEZING")
            if freezing:
                return self._itself(group) or self._itself(group.parent)
            return "frozen 1" in (group / "cgroup.events").read_text()
        except OSError:
            return False
