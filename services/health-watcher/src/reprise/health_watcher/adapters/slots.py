"""What lies in the slots of this node, read only: docs/node-files.md."""

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Slot:
    """Whose checkpoint it is, by its slot.json."""

    namespace: str
    pod: str
    container: str


class Slots:
    """root: the node's /var/lib/reprise/slots as it is mounted here."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[tuple[str, str], dict[str, Slot]] = {}

    def kept(self, slots: str, container: str) -> tuple[str, ...]:
        """The checkpoints that the engine would try, the newest first. slots: `<namespace>/<pod uid>`."""
        found = []
        for name in ("live", "previous"):
            with contextlib.suppress(OSError):
                found.append((self._root / slots / container / name).readlink().name)
        return tuple(found)

    def containers(self, slots: str, checkpoint_id: str) -> dict[str, Slot]:
        """The containers of which this checkpoint lies there, and whose each says it is: that never changes."""
        if known := self._known.get((slots, checkpoint_id)):
            return known
        found: dict[str, Slot] = {}
        for path in (self._root / slots).glob(f"*/{checkpoint_id}/slot.json"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                body = json.loads(path.read_text())
                found[path.parent.parent.name] = Slot(str(body["namespace"]), str(body["pod"]), str(body["container"]))
        if found:
            self._known[slots, checkpoint_id] = found
        return found
