"""The order in which a key-encryption key is replaced, so that no node ever meets a key that it cannot unwrap. Pure.

A node reads the Secret as its kubelet last wrote it, up to two minutes late. So the new key is added first, and becomes the
active one only when every pod that mounts the Secret has it. Data keys are wrapped anew only when all pods also see that it is
active: one that does not would still wrap the next one under the old key.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Step = Literal["add", "wait for the key", "switch", "wait for the switch", "rewrap"]


@dataclass(frozen=True)
class Seen:
    """A Secret of keys, or what a pod has of it: the active key's id, and the ids of all."""

    active: str
    ids: frozenset[str]


def next_step(secret: Seen, wanted: str, pods: Mapping[str, Seen | None]) -> Step:
    """wanted: the new key's id; empty if there is none yet. pods: what each has; None: it does not answer."""
    if not wanted or wanted not in secret.ids:
        return "add"
    if secret.active != wanted:
        return "wait for the key" if late(wanted, pods) else "switch"
    return "wait for the switch" if late(wanted, pods, active=True) else "rewrap"


def late(wanted: str, pods: Mapping[str, Seen | None], *, active: bool = False) -> list[str]:
    """The pods that do not have the key yet, or do not see that it is active."""
    return [pod for pod, seen in pods.items() if seen is None or wanted not in seen.ids or (active and seen.active != wanted)]
