"""What a check of the store tells, and what heals it."""

from dataclasses import dataclass
from typing import Protocol

from reprise.archive.layout import Lineage

REMEDY = "`reprise store check --repair` on a node that still has it; else restore from another checkpoint"


class Copies(Protocol):
    """Where undamaged copies of packs may lie: a node's PackCache, or what reads it from afar."""

    def read(self, key: str) -> bytes | None:
        """The whole pack; None if it is not there."""
        ...


@dataclass(frozen=True)
class Finding:
    """kind: damaged-manifest, damaged-recipe, wrong-key, lost-pack, truncated-pack, damaged-pack, damaged-chunk or
    missing-chunk. key: the object; chunk: its ordinal in the pack, or -1. checkpoints: the ids that it touches.
    """

    kind: str
    key: str
    lineage: Lineage
    checkpoints: tuple[str, ...]
    detail: str
    chunk: int = -1

    def __str__(self) -> str:
        chunk = f", chunk {self.chunk}" if self.chunk >= 0 else ""
        return f"{self.kind}: {self.key}{chunk}: {self.detail}; touches {', '.join(self.checkpoints) or 'no checkpoint'}"
