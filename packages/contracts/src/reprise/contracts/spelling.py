"""Annotations that nobody reads, though they look like ours: misspelt, or where they mean nothing. Each is told.

A name in one of our two domains that is none of ours is told in any case; of the prototype's domain, which its company uses for
other things too, only what begins like one of its own or resembles one. So is a domain that is nearly one of ours.
"""

import difflib
from collections.abc import Mapping
from functools import lru_cache

OURS, SEEDS = "reprise.dev/", "hitachienergy.com/"
WRITTEN = tuple(
    OURS + name for name in (
        "mode", "interval", "containers", "keep", "prestage", "guard", "on-failure", "checkpoint-now", "move-id", "move-to",
        "restore-id", "restore-to", "state-path", "state-port", "state-scheme", "state-ca", "state-headers", "state-max-bytes",
        "arm",
    )
) + tuple(SEEDS + name for name in ("cr_mode", "cr_interval", "ps_mode", "ps_interval", "ps_path", "ps_port"))  # fmt: skip
"""What a workload's owner writes on it, or a tool for them."""
MADE = tuple(OURS + name for name in ("restore-from", "checkpoint-image", "failover", "fenced-by", "nudged", "restored", "ahead"))
"""What Reprise writes on a pod."""
ALIKE = 0.84
Wrong = tuple[str, str, str]
"""An annotation, its value, and why nobody reads it."""


@lru_cache(maxsize=4096)
def meant(name: str) -> str | None:
    """Return which of ours a name that is none of them resembles, empty: none; None: it is one, or nothing to do with us."""
    if name in WRITTEN or name in MADE:
        return None
    domain, _, rest = name[:300].partition("/")
    if not name.startswith((OURS, SEEDS + "cr_", SEEDS + "ps_")):
        near = difflib.get_close_matches(name[:300], WRITTEN, n=1, cutoff=ALIKE)
        return near[0] if near and rest else None
    near = difflib.get_close_matches(rest.lower(), [each.partition("/")[2] for each in WRITTEN if each.startswith(domain)], n=1)
    return f"{domain}/{near[0]}" if near else ""


def misspelt(annotations: Mapping[str, str]) -> tuple[Wrong, ...]:
    """Return those that look like ours and are not."""
    found = ((name, value, meant(name)) for name, value in sorted(annotations.items()) if "/" in name)
    return tuple(
        (name, value, f"nobody reads it; did you mean {near}?" if near else "nobody reads it: there is no such annotation")
        for name, value, near in found if near is not None
    )  # fmt: skip


def misplaced(annotations: Mapping[str, str], where: str) -> tuple[Wrong, ...]:
    """Return those of ours, misspelt ones too, on something where nobody reads any. where: why, and where they belong."""
    told = f"nobody reads it there: {where}"
    ours = tuple((name, value, told) for name, value in sorted(annotations.items()) if name in WRITTEN)
    return (*ours, *misspelt(annotations))


def on_template(kind: str) -> str:
    """Of the pod template of a workload whose own annotations are read."""
    return f"it is on the pod template; move it to the {kind}'s own metadata.annotations"


def on_kind(kind: str) -> str:
    """Of an object whose annotations are not read."""
    if kind == "ReplicaSet":
        return "a ReplicaSet without a Deployment is not supported; make it a Deployment"
    where = "spec.jobTemplate.spec.template" if kind == "CronJob" else "spec.template"
    return (
        f"a {kind} is no workload of ours; in {where}.metadata.annotations it protects the pods, in place: they are never moved"
    )
