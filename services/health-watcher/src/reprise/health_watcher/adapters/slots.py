"""What lies in the slots of this node, read only: docs/node-files.md."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reprise.health_watcher.adapters.disk import Disk


@dataclass(frozen=True)
class Slot:
    """Whose checkpoint it is, by its slot.json."""

    namespace: str
    pod: str
    container: str
    kind: str = "criu"
    content_type: str = ""
    """Of kind http: of `state`, the bytes that its program handed out."""
    api: Mapping[str, Any] = field(default_factory=dict)
    """Of kind http: how that was reached."""


class Slots:
    """root: the node's /var/lib/reprise/slots as it is mounted here. While the disk hangs, what was there last is told."""

    def __init__(self, root: Path, disk: Disk) -> None:
        self._root, self._disk = root, disk
        self._known: dict[tuple[str, str], dict[str, Slot]] = {}

    def kept(self, slots: str, container: str) -> tuple[str, ...]:
        """The checkpoints that the engine would try, the newest first. slots: `<namespace>/<pod uid>`."""
        return self._disk.ask(("kept", slots, container), lambda: self._kept(slots, container), ())

    def _kept(self, slots: str, container: str) -> tuple[str, ...]:
        found = []
        for name in ("live", "previous"):
            with contextlib.suppress(OSError):
                found.append((self._root / slots / container / name).readlink().name)
        return tuple(found)

    def of_state(self, slots: str, container: str, checkpoint_id: str) -> Slot | None:
        """A checkpoint of kind http that lies there."""
        slot = self.containers(slots, checkpoint_id).get(container)
        return slot if slot and slot.kind == "http" else None

    def state(self, slots: str, container: str, checkpoint_id: str) -> Path:
        return self._root / slots / container / checkpoint_id / "state"

    def containers(self, slots: str, checkpoint_id: str) -> dict[str, Slot]:
        """The containers of which this checkpoint lies there, and whose each says it is: that never changes."""
        if known := self._known.get((slots, checkpoint_id)):
            return known
        found = self._disk.ask(
            ("containers", slots, checkpoint_id), lambda: self._containers(slots, checkpoint_id), dict[str, Slot]()
        )
        if found:
            self._known[slots, checkpoint_id] = found
        return found

    def _containers(self, slots: str, checkpoint_id: str) -> dict[str, Slot]:
        found: dict[str, Slot] = {}
        for path in (self._root / slots).glob(f"*/{checkpoint_id}/slot.json"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                body = json.loads(path.read_text())
                found[path.parent.parent.name] = Slot(
                    str(body["namespace"]), str(body["pod"]), str(body["container"]), str(body.get("kind", "criu")),
                    str(body.get("content_type", "")), dict(body.get("api", {})),
                )  # fmt: skip
        return found
