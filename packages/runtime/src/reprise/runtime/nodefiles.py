"""The files that the engine and the agents of a node share, as docs/node-files.md describes them.

A file is written whole: a reader sees the one before or the new one. What cannot be parsed counts as absent.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from reprise.contracts.model import CriuStats, Kind, RestoreStats, now
from reprise.contracts.records import HAND_BACK
from reprise.runtime.telemetry import log

VERSION = 1
ALIVE_S = 5.0
"""An agent whose heartbeat is older than this counts as dead."""

Verdict = Literal["restore", "blank", "refuse", "wait"]
Outcome = Literal["restored", "blank", "cold", "refused"]


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)
    version: int = VERSION


class NodeFile(_File):
    """`node.json`. Times: seconds of CLOCK_BOOTTIME."""

    node: str
    boot_id: str
    ttl_s: float
    renewed_at_s: float | None
    heartbeat_at_s: float


class Owner(BaseModel):
    """The workload that owns a pod."""

    kind: str
    name: str


class ContainerVerdict(BaseModel):
    """What the engine is to do when this container is created."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)
    verdict: Verdict
    reason: str = ""
    slots: tuple[str, ...] = ()
    """Folders below the slots' root, `<namespace>/<pod uid>`, in the order in which they are looked at."""
    checkpoint_id: str = ""
    """No other checkpoint than this one; empty: the newest."""
    rejected: tuple[str, ...] = ()
    """Checkpoints that are never tried again."""
    frozen: bool = False
    """The restored process must not run one instruction until the agent thaws it."""
    ahead: bool = False
    """Nor is its container started, once it is restored, until this is false: no failover needs it yet."""
    never_cold: bool = False
    """If nothing that lies there can be restored it fails, instead of starting cold."""


class PodFile(_File):
    """`pods/<uid>.json`, for every pod of the node; a container that is not listed is not protected."""

    namespace: str
    pod: str
    uid: str
    workload: Owner | None = None
    containers: dict[str, ContainerVerdict] = {}


class RequestFile(_File):
    """`requests/<container id>.json`: a checkpoint that the engine is to write into a slot."""

    checkpoint_id: str
    slots: str
    hold: bool = False
    expires_at_s: float


class DumpFile(_File):
    """`dumps/<container id>.json`: how the last requested checkpoint of a container went."""

    checkpoint_id: str
    container_id: str
    outcome: Literal["ok", "failed"]
    slot: str = ""
    pause_s: float = 0.0
    held: bool = False
    error: str = ""
    size: int = 0
    criu: CriuStats = CriuStats()


class Attempt(BaseModel):
    """A checkpoint that could not be restored, and CRIU's reason."""

    checkpoint_id: str
    error: str


class StartFile(_File):
    """`starts/<container id>.json`: what the engine did when this container was created."""

    container_id: str
    namespace: str
    pod: str
    pod_uid: str
    container: str
    outcome: Outcome
    checkpoint_id: str = ""
    slot: str = ""
    frozen: bool = False
    reason: str = ""
    attempts: tuple[Attempt, ...] = ()
    at: str = ""
    at_s: float = 0.0
    took_s: float = 0.0
    criu: RestoreStats | None = None
    kind: Kind = "criu"
    """http: its state was posted back to it, by its node's agent."""

    @property
    def is_open(self) -> bool:
        """Its state is not handed back yet: it is no start to anybody."""
        return self.outcome == "blank" and self.reason == HAND_BACK

    @property
    def moment(self) -> datetime:
        """`at`; now if that cannot be read."""
        with contextlib.suppress(ValueError):
            told = datetime.fromisoformat(self.at)
            return told if told.tzinfo else now()
        return now()

    @property
    def lacks_state(self) -> bool:
        """What runs has not been given its state, or did not take it."""
        return self.is_open or self.outcome == "refused"


F = TypeVar("F", bound=_File)


class NodeFiles:
    """root: the node's /run/reprise as it is mounted here."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write_node(self, file: NodeFile) -> None:
        self._write(self.root / "node.json", file)

    def read_node(self) -> NodeFile | None:
        return self._read(self.root / "node.json", NodeFile)

    def write_pod(self, file: PodFile) -> None:
        self._write(self._path("pods", file.uid), file)

    def read_pod(self, uid: str) -> PodFile | None:
        return self._read(self._path("pods", uid), PodFile)

    def remove_pod(self, uid: str) -> None:
        self._path("pods", uid).unlink(missing_ok=True)

    def pods(self) -> Iterator[str]:
        """The UIDs of the pods that have a file."""
        for path in (self.root / "pods").glob("*.json"):
            yield path.stem

    def write_request(self, container_id: str, file: RequestFile) -> None:
        self._write(self._path("requests", container_id), file)

    def remove_request(self, container_id: str) -> None:
        self._path("requests", container_id).unlink(missing_ok=True)

    def read_dump(self, container_id: str) -> DumpFile | None:
        return self._read(self._path("dumps", container_id), DumpFile)

    def starts(self) -> Iterator[StartFile]:
        for path in (self.root / "starts").glob("*.json"):
            if found := self._read(path, StartFile):
                yield found

    def rewrite_start(self, file: StartFile) -> None:
        """Of a container of mode http, once it is known what came of handing its state back. Not of one that is deleted."""
        if self._path("starts", file.container_id).exists():
            self._write(self._path("starts", file.container_id), file)

    def remove_start(self, container_id: str) -> None:
        self._path("starts", container_id).unlink(missing_ok=True)

    def read_start(self, container_id: str) -> StartFile | None:
        return self._read(self._path("starts", container_id), StartFile)

    def _path(self, folder: str, name: str) -> Path:
        """Raises ValueError for a name that leads elsewhere."""
        if not name or "/" in name or name.startswith("."):
            raise ValueError(f"{name!r} names no file of {folder}")
        return self.root / folder / f"{name}.json"

    @staticmethod
    def _write(path: Path, file: _File) -> None:
        """Raises OSError."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.tmp-{os.getpid()}")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as out:
                out.write(file.model_dump_json().encode())
            part.rename(path)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()
            raise

    @staticmethod
    def _read(path: Path, kind: type[F]) -> F | None:
        try:
            return kind.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            log().warning("a file that the engine and the agents share cannot be read", file=str(path), error=str(error)[:300])
            return None


def boottime_s() -> float:
    """CLOCK_BOOTTIME: counts on while a machine sleeps, which CLOCK_MONOTONIC hides."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Differs after each boot of the node."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
