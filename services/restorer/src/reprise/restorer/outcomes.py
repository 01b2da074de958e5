"""Why an attempt does not go on, pure: what happened, what to do about it, and whether another attempt is worth it."""

from reprise.contracts.causes import of_restore
from reprise.contracts.events import Outcome
from reprise.contracts.records import CRASH_LOOP, HoldRecord, StartRecord
from reprise.restorer.model import Life, Saga, Stop

LOG_REMEDY = "see the workload's events, and CRIU's log in the container's bundle on the node"


def not_held(record: HoldRecord) -> Stop:
    """Why the last checkpoint left nothing standing still."""
    lucky = record.reason in ("NotHeld", "HoldEnded", "Frozen", "InFlightConnection", "OtherContainer", "Overtaken")
    return Stop(record.reason, record.message, record.remedy, "step-aside", again=lucky)


def not_staged(saga: Saga, refused: dict[str, str], waited_s: float) -> Stop:
    """What becomes of it when the checkpoint does not get onto the node that is to take it."""
    if why := refused.get(saga.standby):
        return Stop("StandbyRefused", f"{saga.standby} {why}", "nothing: another node is looked for", _lost(saga), again=True)
    message = f"{saga.standby} did not have {saga.checkpoint_id} ready within {waited_s:.0f} s"
    remedy = f"see ours on {saga.standby}: `kubectl -n reprise-system get pods -o wide`"
    return Stop("NotStaged", message, remedy, _lost(saga), later=True)


def damaged(saga: Saga) -> Stop:
    """Found while it was staged: the one before it may be whole."""
    return Stop(
        "Damaged", f"{saga.checkpoint_id} is damaged in the store", "see the workload's events", _lost(saga), poisoned=True
    )


def not_restored(saga: Saga, start: StartRecord) -> Stop | None:
    """Whether what the engine did is not what this attempt is for."""
    if start.outcome == "restored" and start.checkpoint_id in (saga.checkpoint_id, ""):
        return None
    if start.outcome == "restored":
        message = f"{saga.standby} restored {start.checkpoint_id} instead of {saga.checkpoint_id}"
    else:
        message = (
            f"{saga.checkpoint_id} did not come back on {saga.standby}: {start.outcome}: {start.reason or 'it did not say why'}"
        )
    reason, remedy = _cause(start.reason)
    return Stop(reason, message, remedy, _lost(saga), poisoned=True)


def _cause(told: str) -> tuple[str, str]:
    """Reason and remedy of what an engine could not restore: told is why, as it says it."""
    known = of_restore(told)
    return (known.reason, known.remedy) if known else ("RestoreFailed", LOG_REMEDY)


NOT_NOW = ("waited ", "this node's lease has run out", "the agent has not run since the node booted")
"""Prefixes of the engine's temporary refusals (engine/internal/decide): the node recovers by itself."""


def waited(start: StartRecord) -> bool:
    """Whether the engine waits, or refused for a temporary reason: the checkpoint is not there yet, or the lease of a busy node
    lapsed. The kubelet tries again.
    """
    return start.outcome == "starting" or (start.outcome == "refused" and start.reason.startswith(NOT_NOW))


def still_waits(saga: Saga, start: StartRecord) -> bool:
    """Whether the engine refused because nobody had told it yet what to start from, or told it of another one: the kubelet tries
    again. What could not be restored it names (engine/internal/create).
    """
    return waited(start) or (
        start.outcome == "refused" and f"checkpoint {saga.checkpoint_id} cannot be restored" not in start.reason
    )


def not_taken(saga: Saga, pod: str, why: str) -> Stop:
    """Of a planned move's shadow, before anything stood still."""
    return Stop("NotTaken", f"{saga.standby} does not take pod {pod}: {why}", "ask for another node, or put right what keeps it "
                "off this one", "step-aside")  # fmt: skip


def not_prepared(saga: Saga, pod: str, why: str, waited_s: float) -> Stop:
    """Of a planned move's shadow, before anything stood still."""
    message = f"pod {pod} was not about to start on {saga.standby} within {waited_s:.0f} s: {why}"
    return Stop("NotPrepared", message, _describe(saga, pod), "step-aside")


def not_started(saga: Saga, pod: str, life: Life, waited_s: float) -> Stop:
    """Of a shadow: no start of it was told of in time."""
    message = f"pod {pod} was not restored on {saga.standby} within {waited_s:.0f} s: {life.detail}"
    return Stop("RestoreFailed", message, _describe(saga, pod), _lost(saga), poisoned=True)


def not_decided(saga: Saga, pod: str) -> Stop:
    """Something runs there that no engine has restored: its node's agent did not know the pod in time, or is away."""
    message = f"pod {pod} runs on {saga.standby}, and no engine has told that it restored it"
    return Stop("NotDecided", message, f"see ours on {saga.standby}: `kubectl -n reprise-system get pods -o wide`", _lost(saga),
                again=True)  # fmt: skip


def _lost(saga: Saga) -> Outcome:
    return "step-aside" if saga.untouched else "cold"


def came_back_cold(saga: Saga, start: StartRecord) -> Stop:
    """The engine found nothing that it could restore, or its node's agent had told it to try nothing."""
    _, loop, told = start.reason.partition(CRASH_LOOP)
    if loop:
        happened, _, remedy = told.partition("; ")
        return Stop("CrashLoop", f"it started without its memory: {happened}", remedy or LOG_REMEDY)
    reason, remedy = ("NoCheckpoint", LOG_REMEDY) if start.outcome == "blank" else _cause(start.reason)
    return Stop(reason, f"it started without its memory: {start.reason or start.outcome}", remedy)


def not_served(saga: Saga, life: Life, start: StartRecord | None, waited_s: float) -> Stop:
    """In place: nothing is undone, its own kubelet goes on."""
    pod = saga.target.pod
    if start is None or start.outcome in ("refused", "starting"):
        told = f"the engine refused it: {start.reason}" if start and start.reason else life.detail
        return Stop("NotRestarted", f"pod {pod} was not started again within {waited_s:.0f} s: {told}", _describe(saga, pod),
                    "hand-over")  # fmt: skip
    return Stop("NotServing", f"pod {pod} did not serve within {waited_s:.0f} s: {life.detail}; it runs from its checkpoint",
                _describe(saga, pod), "hand-over")  # fmt: skip


def _describe(saga: Saga, pod: str) -> str:
    return f"`kubectl -n {saga.workload.namespace} describe pod {pod}`; CRIU's log is in the container's bundle on the node"
