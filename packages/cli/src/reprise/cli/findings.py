"""Findings of `store check` as data, and what to do about each kind. Pure."""

from collections.abc import Collection
from typing import Any

from reprise.archive.damage import Finding

HEALABLE = ("lost-pack", "truncated-pack", "damaged-pack", "damaged-chunk", "missing-chunk")
_HEAL = "--repair, if a node still holds it; else its checkpoints are lost: take new ones"
_LOST = "restore this object from a backup of the store, or take a new checkpoint and delete it"
REMEDIES = {
    **dict.fromkeys(HEALABLE, _HEAL),
    "damaged-manifest": _LOST,
    "damaged-recipe": _LOST,
    "wrong-key": "put the key that it was encrypted with back into the Secret reprise-keys",
}


def as_data(finding: Finding, healed: Collection[str]) -> dict[str, Any]:
    """healed: keys of packs that were uploaded again."""
    return {
        "kind": finding.kind, "object": finding.key, "chunk": finding.chunk if finding.chunk >= 0 else None,
        "checkpoints": list(finding.checkpoints), "detail": finding.detail, "healed": finding.key in healed,
        "remedy": "" if finding.key in healed else REMEDIES.get(finding.kind, "see docs/format.md"),
    }  # fmt: skip
