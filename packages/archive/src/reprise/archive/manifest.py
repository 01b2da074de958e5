"""A checkpoint's manifest: written last, it is the commit; readable alone."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict
from reprise.archive.facts import ArchiveFacts
from reprise.contracts.events import Trigger
from reprise.contracts.model import Target, Workload


class Manifest(BaseModel):
    """size in bytes; sha256 in hex, of the whole tar."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    checkpoint_id: str
    workload: Workload
    target: Target
    trigger: Trigger
    taken_at: AwareDatetime
    size: int
    sha256: str
    object_key: str
    architecture: str
    kernel: str
    facts: ArchiveFacts


class LivePointer(BaseModel):
    """What a live reference shows now."""

    model_config = ConfigDict(frozen=True)

    live_id: str
    pod_uid: str
    checkpoint_id: str
    image_key: str
    digest: str
