"""What a kubelet's answer means, pure: the reason, and what the user can do."""

from dataclasses import dataclass

from reprise.contracts.causes import error_lines, of_log
from reprise.contracts.events import Trigger
from reprise.contracts.records import Checkup

DEMANDED: frozenset[Trigger] = frozenset({"demand", "drain", "move"})
"""Somebody waits for these."""
LEAST_OF_INTERVAL = 0.25
MOST_WAIT_S = 60.0
PATIENCE_S = 5.0
"""For an agent that is being updated, or a program whose kubelet would never end it."""
HARM_REMEDY = "if it repeats, raise failureThreshold or periodSeconds of its livenessProbe: their product must outlast the pause"


@dataclass(frozen=True)
class Failure:
    """Why a checkpoint does not count. retry: worth one more try at once. archive_path, slot: what is there all the same."""

    reason: str
    message: str
    remedy: str
    retry: bool = False
    archive_path: str = ""
    slot: str = ""


@dataclass(frozen=True)
class Refusal:
    """What the kubelet answered instead of an archive's path."""

    status: int
    body: str


@dataclass(frozen=True)
class Skip:
    """Why a due checkpoint was not needed."""

    reason: str
    message: str


NODE_BUSY = Skip(
    "NodeBusy",
    "its node is too busy for a checkpoint each interval: they are taken in turn, and this one gave way to a newer one. To have "
    "them more often, give a longer interval to what needs it less, or spread the workloads over more CPUs",
)
"""pace.py has the rule."""

RIGHTS = (
    "grant the checkpointer's service account `create` on `nodes/checkpoint` (and for kubeadm >= 1.36.1 do not count on "
    "system:kubelet-api-admin, which lacks it): kubectl apply -k deploy/base"
)

# (what the kubelet or the runtime says, reason, remedy). The first that matches counts.
RUNTIME_CAUSES = (
    ("checkpoint/restore support not available", "RuntimeDisabled",
     "CRI-O: set enable_criu_support = true in [crio.runtime]; newer CRI-O also needs container_level_enabled = "
     '"checkpoint_only" (its default) in [crio.checkpoint_restore]'),
    ("CRIU binary not found", "CriuMissing", "install criu >= 4.1 on the node, in the runtime's PATH"),
    ("too old", "CriuTooOld", "install criu >= 4.1 on the node"),
    ("failed to pause container", "Frozen", "the container was frozen or being checkpointed; the next one is not affected"),
    ("method CheckpointContainer not implemented", "RuntimeTooOld", "containerd takes checkpoints from 2.0 on"),
    ("unknown method CheckpointContainer", "RuntimeTooOld", "containerd takes checkpoints from 2.0 on"),
    ("not running", "NotRunning", "the container ended meanwhile; the next checkpoint is of its successor"),
)  # fmt: skip


INTERACTIVE = Failure(
    "Terminal",
    "the container has `tty: true` or `stdin: true`: CRIU dumps it, but a terminal has no session to be restored into, "
    "and what has another standard input after its restore is never dumped again",
    "run it without `tty: true` and `stdin: true`",
)
"""Seen with CRI-O 1.34 and CRIU 4.2: criu/tty.c, criu/files-reg.c. Known before it is tried: its restart would be cold."""


def too_soon(since_last_s: float | None, interval_s: float, trigger: Trigger) -> Skip | None:
    """Why a due checkpoint is not worth taking: several that waited for this node come all at once, and one makes up for
    all; and a process whose checkpoints take longer than its interval must run in between.

    since_last_s: since the end of the container's last one by this node's monotonic clock, None if there was none. The event's
    own time is not looked at: two wall clocks that differ would stop the checkpoints. What a user asked for is always taken.
    """
    if since_last_s is None or trigger in DEMANDED:
        return None
    if since_last_s >= interval_s * LEAST_OF_INTERVAL:
        return None
    return Skip("TooSoon", f"the one before ended {since_last_s:.1f} s earlier, and one is due each {interval_s:g} s")


def overtaken(checkpoint_id: str, newest: str, *, hold: bool) -> Failure | None:
    """Why a move's last checkpoint is not taken under its id: it would sort before one that is older than it.

    newest: the newest id that a checkpoint of this container was taken under.
    """
    if not hold or checkpoint_id > newest:
        return None
    return Failure("Overtaken", f"{newest} was taken meanwhile, and its id is newer", "nothing: the move tries again")


def agent_away(found: Checkup) -> Failure:
    """What cannot be told to be healthy is not checkpointed over a good state."""
    return Failure("AgentAway", f"whether it is healthy is not known: {found.detail}",
                   "see health-watcher's pod on its node: `kubectl -n reprise-system get pods -o wide`")  # fmt: skip


def unhealthy_before(found: Checkup, *, hold: bool) -> Failure | Skip | None:
    """Why it is not checkpointed now. hold: whoever waits for it must be told that there is none."""
    if not found.told:
        return agent_away(found)
    if found.healthy:
        return None
    if found.grace_s and not hold:
        return Skip("StartingUp", f"it is not healthy yet, and its own spec gives it {found.grace_s:.0f} s more: {found.detail}")
    return Failure("UnhealthyBefore", f"its probe failed before the checkpoint: {found.detail}",
                   "nothing is checkpointed over a good state until it is healthy again")  # fmt: skip


def unhealthy_after(found: Checkup, waited_s: float, counted_s: float) -> Failure | None:
    """Of a container that was checkpointed and still runs; None: it is asked again. counted_s: since its livenessProbe counts.

    UnhealthyAfter counts as harm (scheduler), so it is said only of what its kubelet does not tolerate. Nobody is waited for
    longer than MOST_WAIT_S: the next one decides.
    """
    if not found.told:
        return agent_away(found) if waited_s >= PATIENCE_S else None
    if found.tolerated_s and counted_s >= found.tolerated_s:
        message = (
            f"its livenessProbe failed for {counted_s:.0f} s after the checkpoint, which is not used, and its kubelet tolerates "
            f"{found.tolerated_s:g} s: {found.detail}"
        )
        return Failure("UnhealthyAfter", message, HARM_REMEDY)
    if waited_s >= (MOST_WAIT_S if found.tolerated_s else PATIENCE_S):
        return Failure("UnhealthyStill", f"its probe still failed {waited_s:.0f} s after the checkpoint, which is not used: "
                       f"{found.detail}", "nothing, if the next one is good; see its probe otherwise")  # fmt: skip
    return None


def ended_after(ill: Checkup) -> Failure:
    """Its probe failed after the checkpoint, and then it was ended."""
    message = f"its livenessProbe failed after the checkpoint, which is not used, and the container was ended: {ill.detail}"
    return Failure("UnhealthyAfter", message, HARM_REMEDY)


def explain(status: int, body: str, engine_error: str | None = None) -> Failure:  # noqa: PLR0911
    """The kubelet's HTTP status and body; engine_error: why the node's engine could not take it, if it told."""
    text = " ".join(body.split())[:800]
    if engine_error is not None:
        return criu_failure(text, engine_error)
    if status == 401:
        return Failure("Unauthorized", f"the kubelet does not accept the token: {text}",
                       "is webhook authentication on at the kubelet (authentication.webhook.enabled)?")  # fmt: skip
    if status == 403:
        return Failure("Forbidden", f"no right to checkpoint: {text}", RIGHTS)
    if status == 404:
        # A feature gate that is off answers "404: Page Not Found" (k8s.io/kubernetes pkg/kubelet/server/server.go).
        if "does not exist" in text:
            return Failure("ContainerNotFound", f"the kubelet knows no such container: {text}",
                           "it has ended, or the annotation reprise.dev/containers names none of the pod's")  # fmt: skip
        return Failure("FeatureDisabled", f"the kubelet has no checkpoint API: {text}",
                       "enable the feature gate ContainerCheckpoint (on by default from Kubernetes 1.30)")  # fmt: skip
    for said, reason, remedy in RUNTIME_CAUSES:
        if said in text:
            return Failure(reason, text, remedy, retry=reason == "Frozen")
    if "criu" in text.lower() or "failed to checkpoint container" in text:
        return criu_failure(text, None)
    return Failure("KubeletError", f"the kubelet answered {status}: {text}", "see the kubelet's and the runtime's log")


def criu_failure(text: str, engine_error: str | None) -> Failure:
    """text: what the container runtime said."""
    if engine_error is None:
        return Failure("CriuFailed", f"CRIU failed, and the node's engine did not say why: {text}",
                       "is the engine installed on this node (deploy/node)? See the container runtime's log")  # fmt: skip
    errors = error_lines(engine_error) or [f"Error: {line.strip()}" for line in engine_error.splitlines() if line.strip()]
    cause = of_log("\n".join(errors))
    if cause:
        return Failure(cause.reason, cause.what, cause.remedy, retry=cause.passes)
    last = "; ".join(errors[-3:]) or text
    return Failure("CriuFailed", f"CRIU failed: {last}"[:900], "see https://criu.org/What_cannot_be_checkpointed")
