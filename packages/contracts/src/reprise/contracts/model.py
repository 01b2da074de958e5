"""The nouns that events share. All frozen; times are aware UTC datetimes, sizes bytes, durations seconds."""

import hashlib
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_TOKEN = r"[A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?"
NO_NAMESPACE = "-"
"""Of an event that is about a node."""


def _only(pattern: str, what: str) -> Callable[[str], str]:
    """Names become parts of paths, URLs and keys: one with a separator in it would lead elsewhere. No pattern of the JSON Schema:
    within v1 nothing is made narrower for who reads, and what a cluster has is of this form anyway.
    """

    def check(name: str) -> str:
        if not re.fullmatch(pattern, name, re.ASCII):
            raise ValueError(f"{name[:80]!r} is not {what}")
        return name

    return check


Name = Annotated[
    str, Field(min_length=1, max_length=253), AfterValidator(_only(_SUBDOMAIN, "the name of a Kubernetes object (DNS-1123)"))
]
Namespace = Annotated[
    str, Field(min_length=1, max_length=253), AfterValidator(_only(f"{_LABEL}|{NO_NAMESPACE}", "a namespace's name (DNS-1123)"))
]
Container = Annotated[str, Field(min_length=1, max_length=253), AfterValidator(_only(_LABEL, "a container's name (DNS-1123)"))]
Uid = Annotated[str, Field(min_length=1, max_length=253), AfterValidator(_only(_TOKEN, "an object's UID"))]
ContainerId = Annotated[str, AfterValidator(_only(f"({_TOKEN})?", "a container's id without its scheme"))]
NodeOrNone = Annotated[str, AfterValidator(_only(f"({_SUBDOMAIN})?", "a node's name (DNS-1123)"))]


Kind = Literal["criu", "http"]
"""Of a checkpoint. criu: a process's memory. http: the state that a program handed out itself."""


class Frozen(BaseModel):
    """Immutable; unknown fields are ignored, so that a newer minor version can be read."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class Workload(Frozen):
    """Who owns the pod: what a user annotated."""

    namespace: Namespace
    kind: Literal["Deployment", "StatefulSet", "Pod"] = "Deployment"
    name: Name

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name} in {self.namespace}"


class Target(Frozen):
    """One running container: the thing that is checkpointed, and that dies."""

    node: Name
    pod: Name
    pod_uid: Uid
    container: Container
    container_id: ContainerId = ""
    """The runtime's id without its scheme; empty when the container is not running."""

    def but(self, *, node: str | None = None, pod_uid: str | None = None, container_id: str | None = None) -> "Target":
        """The same container in another pod of its name, or another instance of it."""
        return Target(
            node=self.node if node is None else node, pod=self.pod, pod_uid=self.pod_uid if pod_uid is None else pod_uid,
            container=self.container, container_id=self.container_id if container_id is None else container_id,
        )  # fmt: skip


class CriuStats(Frozen):
    """CRIU's own dump statistics. Times in microseconds, as CRIU writes them."""

    freezing_time_us: int = 0
    frozen_time_us: int = 0
    memdump_time_us: int = 0
    memwrite_time_us: int = 0
    pages_scanned: int = 0
    pages_skipped_parent: int = 0
    pages_written: int = 0


class RestoreStats(Frozen):
    """CRIU's own restore statistics. Times in microseconds, as CRIU writes them."""

    restore_time_us: int = 0
    """All of it."""
    forking_time_us: int = 0
    """Of that: until the processes were there."""
    pages_restored: int = 0
    pages_compared: int = 0
    pages_skipped_cow: int = 0


STAMP = "%Y%m%dt%H%M%S"


def checkpoint_id(target_pod_uid: str, container: str, due_at: datetime) -> str:
    """Name a checkpoint by when it was due and of what: sorts by time, and is the same whoever computes it.

    The form is valid as an OCI tag and as an object key: `20261124t101112123-1a2b3c4d5e`.
    """
    due = due_at.astimezone(UTC)
    stamp = due.strftime(STAMP) + f"{due.microsecond // 1000:03d}"
    return f"{stamp}-{_digest(target_pod_uid, container, stamp)}"


def after(previous_id: str) -> datetime:
    """The earliest time of which a checkpoint's id sorts after this one. Ids say which checkpoint is the newest, so they must
    only grow, also while the wall clock is set back: take the later of this and when it is due. Raises ValueError.
    """
    return _time(previous_id.partition("-")[0]) + timedelta(milliseconds=1)


def due_time(checkpoint_id: str) -> AwareDatetime | None:
    """When a checkpoint was due, by its name; None for a name of another form."""
    stamp = checkpoint_id.partition("-")[0]
    try:
        return _time(stamp)
    except ValueError:
        return None


def _time(stamp: str) -> datetime:
    """Raises ValueError."""
    return datetime.strptime(stamp[:-3], STAMP).replace(tzinfo=UTC) + timedelta(milliseconds=int(stamp[-3:]))


def failover_id(target: Target, *, node_lost: bool = False) -> str:
    """Name a failover by the container instance that is gone: two who notice the same death name the same failover.

    The loss of its node is another failover than its crash there: it is handled elsewhere.
    """
    return f"fo-{_digest(target.pod_uid, target.container, 'node' if node_lost else target.container_id)}"


ELSEWHERE = "el-"
"""How a failover's name begins that moves a container because it ended again soon after it was restored in place."""


def elsewhere_id(target: Target) -> str:
    """Name it by the instance that is gone, as failover_id() does. Its pod is told by it: it was moved once."""
    return ELSEWHERE + failover_id(target).removeprefix("fo-")


def move_id(workload: Workload, container: str, request: str) -> str:
    """Name a planned move by what asked for it, not by the pod: what is moved already is not moved again by the same."""
    return f"mv-{_digest(workload.namespace, workload.kind, workload.name, container, request)}"


def restore_id(workload: Workload, container: str, request: str) -> str:
    """Name a restore that somebody asked for by the asking."""
    return f"rs-{_digest(workload.namespace, workload.kind, workload.name, container, request)}"


def _digest(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=5).hexdigest()


def now() -> AwareDatetime:
    """The wall clock, for people to read; never compared to decide anything."""
    return datetime.now(UTC)
