"""The cgroup freezer, v1 (`freezer.state`) and v2 (`cgroup.freeze`).

Source: kernel Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst and cgroup-v2.rst.
"""

import os
import time
from pathlib import Path

SETTLE_S = 1.0


class CgroupFreezer:
    """root: the host's /sys/fs/cgroup as it is mounted here."""

    def __init__(self, root: str) -> None:
        v1 = Path(root) / "freezer"
        self._v1 = v1.is_dir()
        self._root = v1 if self._v1 else Path(root)
        self._found: dict[str, Path] = {}

    def limitation(self) -> str:
        """Why containers of this node cannot be frozen from here; empty if they can. What the kernel says to writing it is known
        only then.
        """
        groups = sorted(self._root.glob("kubepods*")) if self._root.is_dir() else []
        if not groups:
            return f"the kubelet's control groups are not below {self._root}"
        file = groups[0] / ("freezer.state" if self._v1 else "cgroup.freeze")
        if not file.is_file():
            return f"the kernel offers no {file}"
        return "" if os.access(file, os.W_OK) else f"{file} cannot be written"

    def freeze(self, container_id: str) -> bool:
        group = self._group(container_id)
        if group is None or self._empty(group):
            return False
        self._write(group, frozen=True)
        end = time.monotonic() + SETTLE_S
        while not self._read(group):
            if time.monotonic() > end:
                raise OSError(f"{group} did not freeze within {SETTLE_S} s")
            time.sleep(0.005)
        if self._empty(group):
            # Its process ended just then. Left frozen, runc would take it for paused, and CRI-O for running, for ever.
            self._write(group, frozen=False)
            return False
        return True

    def thaw(self, container_id: str) -> None:
        """Its pod too: a hold that was cut short left that frozen."""
        if group := self._group(container_id):
            self._write(group, frozen=False)
            self._write(group.parent, frozen=False)

    def hold(self, container_id: str) -> bool:
        """Freeze the whole pod while its container is paused by somebody else, so that it stays so when he ends the pause.

        True only if the container was paused without a break until the pod was frozen: then no instruction of it ran in
        between, and none will. The pod is the parent cgroup: what is written to the container's own does not thaw it.
        """
        group = self._group(container_id)
        if group is None:
            return False
        self._write(group.parent, frozen=True)
        if self._itself(group):
            return True
        self._write(group.parent, frozen=False)
        return False

    def paused(self, container_id: str) -> bool:
        """Whether the container itself was told to stand still, whatever its pod was told."""
        group = self._group(container_id)
        return group is not None and self._itself(group)

    def settle(self, container_id: str) -> None:
        """After hold(), once the pause has been ended: the container alone is frozen, not its pod.

        The container's monitor is in its pod and must run for the container to be ended.
        """
        group = self._found.get(container_id)
        self.freeze(container_id)
        if group and group.parent.is_dir():
            self._write(group.parent, frozen=False)

    def runs(self, container_id: str) -> bool:
        """Whether it has a process that is not frozen: the end of a checkpoint's pause thaws what was frozen during it."""
        group = self._group(container_id)
        return group is not None and not self._read(group, freezing=True) and not self._empty(group)

    def is_frozen(self, container_id: str) -> bool:
        """Also while freezing: CRI-O pauses a container for the time of its checkpoint."""
        group = self._group(container_id)
        return group is not None and self._read(group, freezing=True)

    def _group(self, container_id: str) -> Path | None:
        cached = self._found.get(container_id)
        if cached and cached.is_dir():
            return cached
        for pods in self._root.glob("kubepods*"):
            for path in pods.rglob(f"*{container_id}*"):
                if path.is_dir() and "conmon" not in path.name:
                    self._found[container_id] = path
                    return path
        self._found.pop(container_id, None)
        return None

    def _write(self, group: Path, *, frozen: bool) -> None:
        if self._v1:
            (group / "freezer.state").write_text("FROZEN" if frozen else "THAWED")
        else:
            (group / "cgroup.freeze").write_text("1" if frozen else "0")

    def _empty(self, group: Path) -> bool:
        """Whether no process is left in it. By the pids controller, which counts all: cgroup.procs shows only what is in the
        reader's own PID namespace, which for a container of ours is nothing. Where it cannot be told it is not empty.
        """
        counted = self._root.parent / "pids" / group.relative_to(self._root) if self._v1 else group
        try:
            return int((counted / "pids.current").read_text()) == 0
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
                return (group / "cgroup.freeze").read_text().strip() == "1"
            return "frozen 1" in (group / "cgroup.events").read_text()
        except OSError:
            return False
