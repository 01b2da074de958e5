"""A checkpoint's manifest: written last, it is the commit; readable alone and without any key."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict
from reprise.archive.facts import ArchiveFacts
from reprise.archive.layout import Lineage
from reprise.contracts.events import Trigger
from reprise.contracts.model import Target, Workload


class PackRef(BaseModel):
    """A pack as a manifest lists it. size and footer (the encrypted footer) in bytes."""

    model_config = ConfigDict(frozen=True)

    id: str
    size: int
    footer: int


class Cost(BaseModel):
    """What storing this checkpoint cost, in bytes of the archive; uploaded: bytes sent, after compression."""

    model_config = ConfigDict(frozen=True)

    new: int = 0
    reused: int = 0
    zeros: int = 0
    uploaded: int = 0


class Manifest(BaseModel):
    """size in bytes; sha256 in hex, of the whole tar. packs: every pack that the recipe refers to, by index."""

    model_config = ConfigDict(frozen=True)

    version: Literal[2] = 2
    checkpoint_id: str
    workload: Workload
    target: Target
    trigger: Trigger
    taken_at: AwareDatetime
    size: int
    sha256: str
    recipe_key: str
    """The object that says how the archive is put together; encrypted."""
    packs: tuple[PackRef, ...] = ()
    cost: Cost = Cost()
    architecture: str
    kernel: str
    cpu_features: tuple[str, ...] = ()
    """The node's, as /proc/cpuinfo says."""
    facts: ArchiveFacts
    traceparent: str = ""
    """The trace that this checkpoint was made in (W3C), for whoever restores it; empty if it had none."""

    @property
    def lineage(self) -> Lineage:
        return Lineage.of(self.workload, self.target.container)

    @property
    def key(self) -> str:
        return self.lineage.manifest(self.checkpoint_id)


class Tombstone(BaseModel):
    """In a manifest's place: the upload was given up, and this keeps it from committing after all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[2] = 2
    given_up: Literal[True]
