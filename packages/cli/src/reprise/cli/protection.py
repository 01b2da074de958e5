"""What `protect` and `unprotect` write, and what comes of it. Pure."""

from collections.abc import Mapping

from reprise.contracts.annotations import PREFIX, Policy, parse
from reprise.contracts.errors import RepriseError

MODE = PREFIX + "mode"
CRASH = (
    "its pod is left as it is: same image, no restart. From its first good checkpoint on its node's kubelet restarts it with its "
    "memory; a crash before that starts it blank, as Kubernetes does"
)


class BadPolicy(RepriseError):
    """An annotation that Reprise would not accept."""


def annotations(chosen: Mapping[str, str]) -> dict[str, str]:
    """Of a workload that is to be protected; chosen: by their names without the prefix, empty ones left out.

    Raises BadPolicy, by the rule that Reprise itself reads them with.
    """
    made = {MODE: "criu"} | {PREFIX + name: value for name, value in chosen.items() if value}
    problems = parse(made).problems
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


def consequences(policy: Policy, containers: list[str], replicas: int, *, probed: bool, kind: str) -> list[str]:
    """What will happen, a sentence each. containers: the pod's; probed: whether its containers have livenessProbes."""
    protected = ", ".join(policy.containers) or (containers[0] if containers else "its first container")
    pods = f"each of its {replicas} pods" if replicas != 1 else "its pod"
    told = [
        f"container {protected} of {pods} is checkpointed every "
        f"{policy.interval_s:g} s; it stands still for each (tens of milliseconds, and more with its memory)",
        f"the newest {policy.keep} checkpoints are kept, encrypted",
        CRASH,
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
