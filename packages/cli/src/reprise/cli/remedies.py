"""What `protect --fix` sets: the environment variables that avoid what checkpoints failed of, and the diff. Pure."""

import copy
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from reprise.contracts.causes import Variable, variables
from reprise.contracts.errors import RepriseError

LISTS = {"GODEBUG"}
"""Variables that hold several settings, `name=value` by comma: the others stay."""


class NotFixable(RepriseError):
    """A variable that cannot be set on the workload."""


@dataclass(frozen=True)
class Fix:
    """A variable of a container, and the failure that it avoids. before: its value until now; None: it has none."""

    container: str
    name: str
    value: str
    reason: str
    before: str | None = None


def fixes(containers: Sequence[dict[str, Any]], failures: Sequence[dict[str, Any]]) -> tuple[Fix, ...]:
    """containers: the protected ones. failures: the console's rows of the checkpoints that failed since the last good one.

    What is set already is left out. Raises NotFixable where its value comes from elsewhere.
    """
    found: dict[tuple[str, str], Fix] = {}
    for container in containers:
        for reason in dict.fromkeys(str(row.get("reason")) for row in failures if _is_of(row, container)):
            for variable in variables(reason, program(container)):
                if fix := _fix(container, variable, reason):
                    found.setdefault((fix.container, fix.name), fix)
    return tuple(found.values())


def _is_of(row: dict[str, Any], container: dict[str, Any]) -> bool:
    return row.get("container") in (None, "", container["name"])


def program(container: dict[str, Any]) -> str:
    """By what it may be told which language it is written in."""
    return " ".join(
        [str(container.get("image") or ""), *map(str, container.get("command") or []), *map(str, container.get("args") or [])]
    )


def _fix(container: dict[str, Any], variable: Variable, reason: str) -> Fix | None:
    """None: it is set already."""
    name = container["name"]
    known = next((each for each in container.get("env") or [] if each.get("name") == variable.name), None)
    if known is not None and known.get("valueFrom"):
        raise NotFixable(
            f"{variable.name} has its value from elsewhere", subject=f"container {name}",
            remedy=f"set it to {variable.value} there; nothing was changed",
        )  # fmt: skip
    before = None if known is None else str(known.get("value") or "")
    value = _merged(variable, before or "")
    return None if value == before else Fix(name, variable.name, value, reason, before)


def _merged(variable: Variable, before: str) -> str:
    if variable.name not in LISTS:
        return variable.value
    setting = variable.value.partition("=")[0]
    others = [each for each in before.split(",") if each and each.partition("=")[0] != setting]
    return ",".join([*others, variable.value])


def applied(spec: dict[str, Any], wanted: Sequence[Fix]) -> dict[str, Any]:
    """The pod's spec with them."""
    made = copy.deepcopy(spec)
    for container in made.get("containers") or []:
        for fix in wanted:
            if fix.container == container["name"]:
                env = [each for each in container.get("env") or [] if each.get("name") != fix.name]
                container["env"] = [*env, {"name": fix.name, "value": fix.value}]
    return made


def diff(subject: str, spec: dict[str, Any], wanted: Sequence[Fix]) -> list[str]:
    """Unified, of the pod template as YAML."""
    before, after = (
        yaml.safe_dump({"template": {"spec": each}}, sort_keys=False, allow_unicode=True).splitlines()
        for each in (spec, applied(spec, wanted))
    )
    return list(difflib.unified_diff(before, after, f"{subject} (now)", f"{subject} (fixed)", lineterm=""))
