"""Which archive is meant: a tar on this machine, or a checkpoint in the store."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import typer
from reprise.archive.inspector import open_archive
from reprise.archive.layout import Lineage
from reprise.archive.manifest import Manifest
from reprise.archive.repository import Repository
from reprise.cli.names import BadName, WorkloadName, parse, suggestion
from reprise.cli.ports import Session
from reprise.contracts.errors import NotStored, RepriseError
from reprise.contracts.model import Workload

if TYPE_CHECKING:
    from reprise.archive.opened import OpenArchive


class Ambiguous(RepriseError):
    """Several fit what was named."""


@dataclass(frozen=True)
class Archive:
    """An open archive; manifest: of a stored one."""

    file: IO[bytes]
    name: str
    manifest: Manifest | None = None


@contextmanager
def opened(session: Session, target: str, container: str) -> Iterator[Archive]:
    """target: a path, or `[NAMESPACE/][KIND/]WORKLOAD[@CHECKPOINT]`; the newest checkpoint if none is named.

    Raises RepriseError.
    """
    if is_path(target):
        with open_archive(Path(target)) as file:
            yield Archive(file, Path(target).name)
        return
    with stored(session, workload_name(target), container) as (archive, name), archive.file() as file:
        yield Archive(file, name, archive.manifest)


@contextmanager
def stored(session: Session, name: WorkloadName, container: str) -> Iterator[tuple["OpenArchive", str]]:
    """A checkpoint in the store, and what to call it. Raises RepriseError."""
    namespace = name.namespace or session.namespace()
    with session.repository(keys=True) as repository:
        manifest = find(repository, name, namespace, container)
        yield repository.open(manifest), f"{namespace}/{name.name}@{manifest.checkpoint_id}"


def is_path(target: str) -> bool:
    """A file that is there wins; what looks like a path is one, so that a missing file is told as such."""
    return Path(target).is_file() or target.startswith((".", "/", "~")) or target.endswith((".tar", ".tgz", ".gz", ".zst"))


def workload_name(text: str) -> WorkloadName:
    """A malformed name is a usage error."""
    try:
        return parse(text)
    except BadName as error:
        raise typer.BadParameter(str(error)) from error


def find(repository: Repository, name: WorkloadName, namespace: str, container: str) -> Manifest:
    """Raises NotStored with what there is, or Ambiguous with what to add."""
    lineages = repository.lineages(namespace)
    fitting = [lineage for lineage in lineages if _fits(lineage, name, container)]
    if not fitting:
        near = suggestion(name.name, [lineage.workload.partition(".")[2] for lineage in lineages])
        raise NotStored(
            f"no checkpoint is stored of it{f', container {container}' if container else ''}", subject=f"{namespace}/{name.name}",
            remedy=near or f"nothing is stored of namespace {namespace}: `reprise status -A` shows what is protected",
        )  # fmt: skip
    if len(fitting) > 1:
        told = ", ".join(f"{lineage.workload.replace('.', '/', 1)} -c {lineage.container}" for lineage in fitting)
        raise Ambiguous("several are stored", subject=f"{namespace}/{name.name}", remedy=f"say which: {told}")
    return _checkpoint(repository, fitting[0], name)


def _fits(lineage: Lineage, name: WorkloadName, container: str) -> bool:
    kind, _, workload = lineage.workload.partition(".")
    return workload == name.name and name.kind.lower() in ("", kind) and container in ("", lineage.container)


def _checkpoint(repository: Repository, lineage: Lineage, name: WorkloadName) -> Manifest:
    kind, _, workload = lineage.workload.partition(".")
    of = Workload.model_validate({"namespace": lineage.namespace, "name": workload, "kind": _KINDS.get(kind, kind)})
    stored = repository.list_manifests(of, lineage.container)
    fitting = [manifest for manifest in stored if manifest.checkpoint_id.startswith(name.checkpoint)]
    if not fitting:
        told = ", ".join(manifest.checkpoint_id for manifest in stored[:5])
        raise NotStored(
            f"checkpoint {name.checkpoint or 'of any id'} is not stored, or its manifest is damaged", subject=str(lineage),
            remedy=f"the newest are {told}" if told else "`reprise store check` finds damage",
        )  # fmt: skip
    if name.checkpoint and len(fitting) > 1:
        raise Ambiguous(
            f"{len(fitting)} checkpoints begin with {name.checkpoint}", subject=str(lineage), remedy="write more of it"
        )
    return fitting[0]


_KINDS = {"deployment": "Deployment", "statefulset": "StatefulSet", "pod": "Pod"}
