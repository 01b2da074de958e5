"""What a user writes on a workload, in both families, and the policy that it means.

`reprise.dev/*` is ours. `hitachienergy.com/cr_*` and `ps_*` are the research prototype's and work
unchanged; where both are set, ours wins. A bad value is a Problem, and the last valid value stays in force.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Literal, TypeVar

from pydantic import AwareDatetime
from reprise.contracts import spelling, state
from reprise.contracts.model import Frozen
from reprise.contracts.state import StateApi

PREFIX = "reprise.dev/"
SEED_PREFIX = "hitachienergy.com/"
MOVE_ID, MOVE_TO, ANY_NODE = PREFIX + "move-id", PREFIX + "move-to", "any"
"""On a workload: a value that was not there before asks for a planned move, to this node (empty or `any`: one that can)."""
RESTORE_ID, RESTORE_TO = PREFIX + "restore-id", PREFIX + "restore-to"
"""On a workload: a value that was not there before asks for it to go on from this checkpoint, in its place."""
GUARD_LABEL = PREFIX + "guard"
"""On a PodDisruptionBudget that Reprise made, and manages."""
RESTORE_FROM = PREFIX + "restore-from"
"""On a pod that a failover made: the checkpoint that it starts from, as `<pod uid>/<checkpoint id>` of its own namespace."""
CHECKPOINT_IMAGE = PREFIX + "checkpoint-image"
"""On a pod that a failover made: the reference of that checkpoint's OCI image, for people and tools."""
FENCED_BY = PREFIX + "fenced-by"
"""On a pod that is given up: the failover that starts it elsewhere. Its fence in NATS decides; this outlives NATS' data."""
AHEAD = PREFIX + "ahead"
"""On a pod that was made while a node was only suspected: it starts nothing before its failover takes this away."""
CHECKPOINT_NOW = PREFIX + "checkpoint-now"
"""The moment at which the owner wants one checkpoint besides those of the interval; it is what names it, too."""
MIN_INTERVAL_S = 1.0  # the kubelet names archives by the second: two in one second overwrite each other
MAX_INTERVAL_S = 7 * 86400.0

ARM = PREFIX + "arm"
"""Of older versions, which restarted a pod to protect it."""

Mode = Literal["criu", "http", "off"]
"""criu: its memory. http: the state that it hands out and takes back itself (state.py)."""
RESTORED_GATE = "reprise.dev/restored"
"""A pod's readiness gate, for those that list it: True while no protected container of it runs without its memory."""
Prestaging = Literal["auto", "image", "chunks", "none"]
OnFailure = Literal["in-place", "move", "cold"]
"""in-place: its node restores it. move: it goes to another node with its state, once. cold: it starts without its memory."""
ON_FAILURE: tuple[OnFailure, ...] = ("in-place", "move", "cold")


class Policy(Frozen):
    """How a workload is protected."""

    mode: Mode = "off"
    interval_s: float = 60.0
    containers: tuple[str, ...] = ()
    """The containers to protect; none named means the pod's first."""
    keep: int = 3
    prestage: Prestaging = "auto"
    """What of each checkpoint lies ready on the standby; auto: by its size and interval."""

    on_failure: tuple[OnFailure, ...] = ON_FAILURE
    """What is tried in turn when it ends, or hangs, and does so again soon after it was brought back."""
    guard: bool = True
    """Whether evictions wait until it has been moved off a cordoned node."""
    checkpoint_at: AwareDatetime | None = None
    """When its owner wants a checkpoint besides those of the interval; None: never asked."""
    state: StateApi | None = None
    """Of mode http: where it hands out its state, and takes it back."""

    @property
    def protects(self) -> bool:
        return self.mode != "off"


class Problem(Frozen):
    """An annotation that could not be used."""

    annotation: str
    value: str
    message: str
    unread: bool = False
    """Nobody reads it, whatever its value: it is misspelt, or where it means nothing."""

    def __str__(self) -> str:
        return f"{self.annotation}: {self.value!r}: {self.message}"


class Parsed(Frozen):
    """A policy and what was wrong on the way to it."""

    policy: Policy
    problems: tuple[Problem, ...] = ()


_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?", re.ASCII)
T = TypeVar("T")


def duration_s(text: str) -> float:
    """Seconds in a duration such as `10s`, `1m30s` or `2h`. Raises ValueError."""
    match = _DURATION.fullmatch(text.strip())
    if not match or not any(match.groups()):
        raise ValueError("not a duration: write e.g. 10s, 1m30s or 2h")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return _interval(hours * 3600 + minutes * 60 + seconds)


def parse(annotations: Mapping[str, str], last: Policy | None = None) -> Parsed:
    """The policy that these annotations mean; `last` is what stays in force where one is bad."""
    base = last or Policy()
    problems: list[Problem] = []

    def read(names: tuple[tuple[str, Callable[[str], T]], ...], default: T, fallback: T) -> T:
        for name, convert in names:
            if name not in annotations:
                continue
            try:
                return convert(annotations[name])
            except ValueError as error:
                problems.append(Problem(annotation=name, value=annotations[name][:200], message=str(error)))
                return fallback
        return default

    mode = read(
        ((PREFIX + "mode", _mode), (SEED_PREFIX + "cr_mode", _seed_mode), (SEED_PREFIX + state.SEED_MODE, _seed_state_mode)),
        "off", base.mode,
    )  # fmt: skip
    api, wrong = state.parse(annotations, PREFIX, SEED_PREFIX) if mode == "http" else (None, ())
    problems += [Problem(annotation=name, value=value[:200], message=message) for name, value, message in wrong]
    if mode == "http" and api is None:  # nobody knows where its state is: what was so before stays so
        mode, api = base.mode, base.state
    elif mode == "criu" and SEED_PREFIX + state.SEED_MODE in annotations:
        name = SEED_PREFIX + state.SEED_MODE
        problems.append(Problem(annotation=name, value=annotations[name][:200], message="not used: its memory is checkpointed"))
    intervals = [(PREFIX + "interval", duration_s), (SEED_PREFIX + "cr_interval", _seed_interval)]
    if mode == "http":
        intervals.append((SEED_PREFIX + "ps_interval", _seed_interval))
    policy = Policy(
        mode=mode,
        state=api,
        interval_s=read(tuple(intervals), 60.0, base.interval_s),
        containers=read(((PREFIX + "containers", _containers),), (), base.containers),
        keep=read(((PREFIX + "keep", _keep),), 3, base.keep),
        guard=read(((PREFIX + "guard", _switch),), True, base.guard),
        on_failure=read(((PREFIX + "on-failure", _on_failure),), ON_FAILURE, base.on_failure),
        checkpoint_at=read(((CHECKPOINT_NOW, _moment),), None, base.checkpoint_at),
        prestage=read(((PREFIX + "prestage", _prestage),), "auto", base.prestage),
    )
    if ARM in annotations:
        told = "no longer needed: the first checkpoint protects a pod, without a restart; remove this annotation"
        problems.append(Problem(annotation=ARM, value=annotations[ARM][:200], message=told))
    if policy.mode == "http" and len(policy.containers) > 1:
        told = f"mode http protects one container, the one at state-port: only {policy.containers[0]} is"
        problems.append(Problem(annotation=PREFIX + "containers", value=annotations.get(PREFIX + "containers", ""), message=told))
        policy = policy.model_copy(update={"containers": policy.containers[:1]})
    return Parsed(policy=policy, problems=(*problems, *unread(spelling.misspelt(annotations))))


def unread(found: tuple[spelling.Wrong, ...]) -> tuple[Problem, ...]:
    return tuple(Problem(annotation=name, value=value[:200], message=message, unread=True) for name, value, message in found)


def _interval(seconds: float) -> float:
    if not MIN_INTERVAL_S <= seconds <= MAX_INTERVAL_S:
        raise ValueError(f"an interval is at least {MIN_INTERVAL_S:g} s and at most 7 days")
    return seconds


def _mode(text: str) -> Mode:
    match text.strip():
        case "criu":
            return "criu"
        case "off":
            return "off"
        case "http":
            return "http"
    raise ValueError("not a mode: use criu, http or off")


def _seed_mode(text: str) -> Mode:
    match text.strip():
        case "cr":
            return "criu"
        case "" | "off" | "none":
            return "off"
    raise ValueError('not a mode: use "cr", or reprise.dev/mode')


def _seed_state_mode(text: str) -> Mode:
    match text.strip():
        case "http" | "http-sf":
            return "http"
        case "" | "off" | "none":
            return "off"
    raise ValueError('not a mode: use "http" or "http-sf", or reprise.dev/mode')


def _seed_interval(text: str) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?", text.strip(), re.ASCII):
        raise ValueError("not a number of seconds")
    return _interval(float(text))


def _prestage(text: str) -> Prestaging:
    match text.strip():
        case "auto" | "image" | "chunks" | "none" as prestage:
            return prestage
    raise ValueError("use auto, image, chunks or none")


def _on_failure(text: str) -> tuple[OnFailure, ...]:
    found: list[OnFailure] = []
    for word in text.split(","):
        match word.strip():
            case "in-place" | "move" | "cold" as step:
                found.append(step)
            case "":
                raise ValueError("a step is missing: list in-place, move and cold in the order in which they are to be tried")
            case other:
                raise ValueError(f"{other!r} is none of in-place, move and cold")
    if len(set(found)) < len(found):
        raise ValueError("a step is named twice: each is tried once")
    if "cold" in found[:-1]:
        raise ValueError("cold comes last: a cold start always succeeds, so what follows it is never tried")
    return tuple(found)


def _switch(text: str) -> bool:
    match text.strip():
        case "on" | "true":
            return True
        case "off" | "false":
            return False
    raise ValueError("use on or off")


def _moment(text: str) -> datetime | None:
    try:
        told = datetime.fromisoformat(text.strip())
        return told.astimezone(UTC) if told.tzinfo else told.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError("not a moment: write it as 2026-11-24T20:14:33Z (RFC 3339)") from error


def _containers(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name):
            raise ValueError(f"{name!r} is not a container's name")
    return names


def _keep(text: str) -> int:
    if not re.fullmatch(r"\d{1,4}", text.strip(), re.ASCII) or int(text) < 1:
        raise ValueError("keep is a whole number from 1 to 9999")
    return int(text)
