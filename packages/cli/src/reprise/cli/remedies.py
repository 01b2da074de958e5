"""What `protect` offers to change in a pod template, and the diff. Pure.

`--fix`: environment variables and a seccomp profile that avoid what checkpoints failed of. Mode http: the readiness gate.
"""

import copy
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from reprise.contracts.annotations import RESTORED_GATE
from reprise.contracts.causes import Variable, seccomp_profile, variables
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

    def __str__(self) -> str:
        return f"{self.name}={self.value}"

    def patch(self, spec: dict[str, Any]) -> dict[str, Any]:
        return {"containers": [{"name": self.container, "env": [{"name": self.name, "value": self.value}]}]}


@dataclass(frozen=True)
class Confine:
    """A seccompProfile of a container that has none, and the failure that it avoids."""

    container: str
    profile: str
    reason: str

    def __str__(self) -> str:
        return f"seccompProfile {self.profile}"

    def patch(self, spec: dict[str, Any]) -> dict[str, Any]:
        return {"containers": [{"name": self.container, "securityContext": {"seccompProfile": {"type": self.profile}}}]}


@dataclass(frozen=True)
class Gate:
    """A readiness gate of the pod."""

    condition: str = RESTORED_GATE

    def __str__(self) -> str:
        return f"readiness gate {self.condition}"

    def patch(self, spec: dict[str, Any]) -> dict[str, Any]:
        """The whole list: the API server replaces this one instead of merging it."""
        return {"readinessGates": [*(spec.get("readinessGates") or []), {"conditionType": self.condition}]}


Change = Fix | Confine | Gate


def fixes(spec: dict[str, Any], protected: Sequence[str], failures: Sequence[dict[str, Any]]) -> tuple[Change, ...]:
    """spec: of the pod. protected: its containers of these names. failures: the console's rows of the checkpoints that failed
    since the last good one.

    What is set already is left out. Raises NotFixable where a variable's value comes from elsewhere.
    """
    found: dict[tuple[str, str], Change] = {}
    for container in spec.get("containers") or []:
        if container["name"] not in protected:
            continue
        for reason in dict.fromkeys(str(row.get("reason")) for row in failures if _is_of(row, container)):
            for variable in variables(reason, program(container)):
                if fix := _fix(container, variable, reason):
                    found.setdefault((fix.container, fix.name), fix)
            profile = seccomp_profile(reason)
            if profile and _unconfined(spec, container):
                found.setdefault((container["name"], ""), Confine(container["name"], profile, reason))
    return tuple(found.values())


def gate(spec: dict[str, Any]) -> tuple[Change, ...]:
    """The readiness gate, if the pod lacks it: without it, its Service sends clients to a process that has no state yet."""
    listed = {each.get("conditionType") for each in spec.get("readinessGates") or []}
    return () if RESTORED_GATE in listed else (Gate(),)


def _is_of(row: dict[str, Any], container: dict[str, Any]) -> bool:
    return row.get("container") in (None, "", container["name"])


def program(container: dict[str, Any]) -> str:
    """By what it may be told which language it is written in."""
    return " ".join(
        [str(container.get("image") or ""), *map(str, container.get("command") or []), *map(str, container.get("args") or [])]
    )


def _unconfined(spec: dict[str, Any], container: dict[str, Any]) -> bool:
    """It has no profile, neither its own nor its pod's. A privileged one has none whatever is set."""
    own = container.get("securityContext") or {}
    profile = own.get("seccompProfile") or (spec.get("securityContext") or {}).get("seccompProfile") or {}
    return not own.get("privileged") and profile.get("type") in (None, "Unconfined")


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


def patch(spec: dict[str, Any], wanted: Sequence[Change]) -> dict[str, Any]:
    """Return the strategic merge patch of the pod's spec; its lists are merged by name."""
    made: dict[str, Any] = {}
    for change in wanted:
        _merge(made, change.patch(spec))
    return made


def applied(spec: dict[str, Any], wanted: Sequence[Change]) -> dict[str, Any]:
    """The pod's spec with them."""
    made = copy.deepcopy(spec)
    _merge(made, patch(spec, wanted))
    return made


def _merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    """As the API server merges: objects by key, lists of what has a name by that, other lists whole."""
    for key, value in more.items():
        if isinstance(value, dict):
            into[key] = into.get(key) or {}
            _merge(into[key], value)
        elif isinstance(value, list) and all("name" in item for item in value):
            into[key] = into.get(key) or []
            for item in value:
                known = next((each for each in into[key] if each.get("name") == item["name"]), None)
                if known is None:
                    into[key].append(known := {})
                _merge(known, item)
        else:
            into[key] = value


def diff(subject: str, spec: dict[str, Any], wanted: Sequence[Change]) -> list[str]:
    """Unified, of the pod template as YAML."""
    before, after = (
        yaml.safe_dump({"template": {"spec": each}}, sort_keys=False, allow_unicode=True).splitlines()
        for each in (spec, applied(spec, wanted))
    )
    return list(difflib.unified_diff(before, after, f"{subject} (now)", f"{subject} (fixed)", lineterm=""))
