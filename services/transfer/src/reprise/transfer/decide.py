"""The rules of transfer, pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from reprise.contracts.errors import CheckpointError
from reprise.contracts.model import Target, Workload

PLAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
RESERVED = frozenset({"live", "previous"})
UNFINISHED = (".partial", ".removed")
MEMBERS = re.compile(
    r"(?:checkpoint/[A-Za-z0-9][A-Za-z0-9._-]{0,254}|rootfs-diff\.tar|deleted\.files|spec\.dump|config\.dump|stats-dump|dump\.log"
    r"|slot\.json|state)"
)
"""What a slot holds, by docs/node-files.md. What else older archives have is of no use to the engine."""
PAGES = re.compile(r"checkpoint/pages-\d+\.img")


def archive_path(told: str, checkpoints_dir: Path) -> Path:
    """The archive that an event names, if it is a checkpoint archive right in the kubelet's folder.

    Raises CheckpointError: an event must not make a root process read or remove any other file.
    """
    path = Path(told)
    plain = path.name.startswith("checkpoint-") and path.suffix == ".tar" and ".." not in path.parts
    if path.parent != checkpoints_dir or not plain:
        raise CheckpointError(
            f"{told[:300]!r} is no checkpoint archive in {checkpoints_dir}",
            reason="ForeignPath",
            remedy="the kubelet's root folder differs from checkpoints_dir: set REPRISE_CHECKPOINTS_DIR",
        )
    return path


def home_of(workload: Workload, target: Target) -> str:
    """Where a container's slots lie below the node's: `<namespace>/<pod uid>/<container>`.

    Raises CheckpointError for names that lead elsewhere.
    """
    parts = (workload.namespace, target.pod_uid, target.container)
    if not all(PLAIN.fullmatch(part) for part in parts):
        raise _foreign("/".join(parts))
    return "/".join(parts)


def checkpoint_name(checkpoint_id: str) -> str:
    """The id, if a slot may be called so. Raises CheckpointError."""
    if not PLAIN.fullmatch(checkpoint_id) or checkpoint_id in RESERVED or checkpoint_id.endswith(UNFINISHED):
        raise _foreign(checkpoint_id)
    return checkpoint_id


def require_own(told: str, workload: Workload, target: Target, checkpoint_id: str) -> str:
    """The slot that an event names, if it is the one of this very checkpoint; else raises CheckpointError.

    An event must not make a root process read or remove any other folder.
    """
    own = f"{home_of(workload, target)}/{checkpoint_name(checkpoint_id)}"
    if told != own:
        raise _foreign(told)
    return own


def _foreign(told: str) -> CheckpointError:
    return CheckpointError(
        f"{told[:300]!r} is not this checkpoint's slot", reason="ForeignSlot",
        remedy="are the checkpointer and the engine on this node of this version?",
    )  # fmt: skip


def orphans(archives: Iterable[tuple[Path, float]], age_s: float) -> list[Path]:
    """Of (path, age in seconds): those that no event told of for so long that none will."""
    return [path for path, age in archives if age > age_s]


def superfluous(found: Iterable[str], live: str, previous: str, busy: Iterable[str], spares: int = 0) -> list[str]:
    """Of a container's slots, by checkpoint: those that nobody needs any more.

    Kept are `live` and `previous`, what is being stored, the newest `spares` of the others, and whatever is newer than both:
    nobody has told yet whether that is good.
    """
    needed = {live, previous, *busy}
    newest = max(live, previous)
    old = sorted((name for name in found if name < newest and name not in needed), reverse=True)
    return old[spares:]


def gone(containers: Iterable[str], named: Iterable[str], pod_uid: str, home: str) -> bool:
    """Whether a pod's slots are of no use to this node any more: it has no container of that pod, and no pod of it may be
    restored from there. containers: pods' UIDs; named: what pods may be restored from, `<namespace>/<pod uid>`.
    """
    return pod_uid not in set(containers) and home.rpartition("/")[0] not in set(named)


@dataclass(frozen=True)
class Refusal:
    """Why a checkpoint is not staged on this node, and what can be done."""

    reason: str
    message: str
    remedy: str


def staging_limitation(
    archive_runtime: str, node_runtime: str, *, missing_bytes: int, free_bytes: int, spare_bytes: int
) -> Refusal | None:
    """Why this node cannot hold the checkpoint ready; None if it can. Sizes in bytes. archive_runtime: empty: of either.

    What was dumped under one runtime does not restore under the other: CRIU says "No mapping for mountpoint".
    """
    if archive_runtime not in ("", node_runtime):
        return Refusal(
            "OtherRuntime", f"the checkpoint is {archive_runtime}'s, this node runs {node_runtime}",
            "restores need nodes with the same container runtime",
        )  # fmt: skip
    if free_bytes - missing_bytes < spare_bytes:
        return Refusal(
            "DiskPressure", f"staging needs {missing_bytes} bytes more, {free_bytes} are free and {spare_bytes} are to stay so",
            "free disk space on the node, or lower REPRISE_STAGING_SPARE_BYTES",
        )  # fmt: skip
    return None
