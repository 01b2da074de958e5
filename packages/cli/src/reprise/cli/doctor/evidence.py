"""What doctor knows of one workload on one node, or of a node alone. Pure data; None: it could not be seen."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from reprise.archive.inspection import Inspection
from reprise.cli.ports import Claimed, NodeFacts, PodFacts
from reprise.contracts.annotations import Policy, Problem


@dataclass(frozen=True)
class Evidence:
    """kubelet: its configuration. cgroup: 1 or 2. rights: whether checkpointer may call it. services: Reprise's on this node, and
    whether each is ready. good: the console's row of the newest stored checkpoint; failures: those since, newest first. failover:
    the newest. problems: annotations that could not be used, or that nobody reads. engine_missing: the newest checkpoint.failed
    that says that this node's runtime does not call the engine; None if a checkpoint was taken there since, or nothing is known.
    hidden: why something could not be seen.
    """

    node: NodeFacts | None = None
    kubelet: dict[str, Any] | None = None
    cgroup: int | None = None
    rights: bool | None = None
    services: dict[str, bool] | None = None
    workload: Claimed | None = None
    policy: Policy = field(default_factory=Policy)
    problems: tuple[Problem, ...] = ()
    pods: tuple[PodFacts, ...] = ()
    row: dict[str, Any] | None = None
    good: dict[str, Any] | None = None
    failures: tuple[dict[str, Any], ...] = ()
    paused: dict[str, Any] | None = None
    failover: dict[str, Any] | None = None
    inspection: Inspection | None = None
    engine_missing: dict[str, Any] | None = None
    hidden: dict[str, str] = field(default_factory=dict)

    @property
    def containers(self) -> list[dict[str, Any]]:
        """The protected ones, or the first."""
        every = self.workload.containers if self.workload else []
        return [each for each in every if each["name"] in self.policy.containers] or every[:1]

    def failure(self, *reasons: str) -> dict[str, Any] | None:
        """The newest failure of these reasons since the last good checkpoint."""
        return next((row for row in self.failures if row.get("reason") in reasons), None)

    @property
    def pause_s(self) -> float | None:
        """How long the last good checkpoint held the process still."""
        whole_s, frozen_us = ((self.good or {}).get(name) for name in ("pause_s", "frozen_time_us"))
        if whole_s is not None:
            return float(whole_s)
        return None if frozen_us is None else frozen_us / 1e6


def since_good(rows: Sequence[dict[str, Any]]) -> tuple[dict[str, Any] | None, tuple[dict[str, Any], ...]]:
    """Of a console's rows, the newest first: the newest stored checkpoint, and what failed since."""
    good = next((at for at, row in enumerate(rows) if row.get("state") == "stored"), None)
    failures = tuple(row for row in rows[:good] if row.get("state") == "failed")
    return None if good is None else rows[good], failures
