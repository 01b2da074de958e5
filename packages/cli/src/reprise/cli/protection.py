"""What `protect` and `unprotect` write, and what comes of it. Pure."""

from collections.abc import Mapping

from reprise.contracts.annotations import PREFIX, Policy, parse
from reprise.contracts.errors import RepriseError

MODE = PREFIX + "mode"
STATE = PREFIX + "state-"
LEFT = "its pod is left as it is: same image, no restart"
CRASH = (
    "from its first good checkpoint on its node's kubelet restarts it with its memory; a crash before that starts it blank, as "
    "Kubernetes does"
)
HANDED_BACK = (
    "after a crash the new process is given the newest state by POST; its Service sends nobody to it before, if the pod template "
    "lists the readiness gate reprise.dev/restored"
)


class BadPolicy(RepriseError):
    """An annotation that Reprise would not accept."""


def annotations(chosen: Mapping[str, str], before: Mapping[str, str] | None = None) -> dict[str, str]:
    """Of a workload that is to be protected; chosen: by their names without the prefix, empty ones left out. before: what is
    written on it: one that hands out its state goes on doing so unless a mode is chosen.

    Raises BadPolicy, by the rule that Reprise itself reads them with.
    """
    known = before or {}
    made = {PREFIX + name: value for name, value in chosen.items() if value}
    if MODE not in made and parse(known).policy.mode != "http":
        made |= {MODE: "http" if any(name.startswith(STATE) for name in made) else "criu"}
    # Of what is written already only what belongs to this mode can be wrong by it.
    problems = [
        each for each in parse({**known, **made}).problems if each.annotation in made or each.annotation.startswith(STATE)
    ]
    if problems:
        first = problems[0]
        raise BadPolicy(
            f"{first.value!r}: {first.message}", subject=f"--{first.annotation.removeprefix(PREFIX)}",
            remedy="nothing was changed",
        )  # fmt: skip
    return made


def unprotected() -> dict[str, str]:
    """`off` is written, not nothing: the other family of annotations would count again."""
    return {MODE: "off"}


def consequences(
    policy: Policy, containers: list[str], replicas: int, *, probed: bool, kind: str, replaced: bool = False
) -> list[str]:  # fmt: skip
    """What will happen, a sentence each. containers: the pod's; probed: whether its containers have livenessProbes; replaced:
    its template was changed just now.
    """
    protected = ", ".join(policy.containers) or (containers[0] if containers else "its first container")
    pods = f"each of its {replicas} pods" if replicas != 1 else "its pod"
    taken = f"container {protected} of {pods} is checkpointed every {policy.interval_s:g} s; it stands still for each (tens of "
    told = [
        f"{taken}milliseconds, and more with its memory)", f"the newest {policy.keep} checkpoints are kept, encrypted",
        *([] if replaced else [LEFT]), CRASH,
    ]  # fmt: skip
    if policy.mode == "http" and policy.state:
        where = f"{policy.state.scheme}, port {policy.state.port}, {policy.state.path}"
        told = [
            f"container {protected} of {pods} is asked for its state every {policy.interval_s:g} s (GET: {where})",
            f"the newest {policy.keep} states are kept, encrypted",
            *([] if replaced else [LEFT]),
            HANDED_BACK,
        ]
    if kind == "Deployment":
        told.append("when its node is lost it goes on on another one, from its last checkpoint")
    else:
        told.append(
            "when its node is lost the next pod of its name goes on on another one, from its last checkpoint; a ReadWriteOnce "
            "volume comes along once Kubernetes has detached it (6 minutes)"
        )
    if not probed:
        told.append("it has no livenessProbe: a hang is not noticed, nor whether a checkpoint is of a healthy process. Add one")
    return told


def warnings(policy: Policy, containers: list[str]) -> list[str]:
    """What is written and cannot be as it is meant."""
    return [
        f"the pod has no container {name}: it has {', '.join(containers)}" for name in policy.containers if name not in containers
    ]
