"""What every part of the bench gives, and what they share."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from reprise_lab import counter
from reprise_lab.paths import NODES
from reprise_lab.shell import kubectl
from reprise_lab.witness import MEASURES_S, Witness

MIB = 1 << 20


@dataclass(frozen=True)
class Row:
    """One figure. baseline: what it stands beside, in words and numbers; how: how it was measured."""

    name: str
    value: float | None
    unit: str
    goal: str
    baseline: str
    how: str


@contextmanager
def protected(namespace: str, env: dict[str, str] | None = None, interval: str = "5s") -> Iterator[Witness]:
    counter.deploy(namespace, annotations={"reprise.dev/interval": interval}, env=env)
    try:
        counter.wait_protected(namespace, 120)
        counter.wait_checkpoint(namespace, seconds=60)
        with Witness(namespace, every_s=MEASURES_S) as witness:
            yield witness
    finally:
        counter.remove(namespace)


@contextmanager
def unprotected(namespace: str, env: dict[str, str] | None = None) -> Iterator[Witness]:
    """The same app without Reprise."""
    counter.deploy(namespace, annotations=counter.PLAIN, env=env)
    try:
        with Witness(namespace, every_s=MEASURES_S) as witness:
            yield witness
    finally:
        counter.remove(namespace)


def quantile(values: list[float], q: float) -> float:
    return values[min(len(values) - 1, int(len(values) * q))] if values else float("nan")


def daemons_ready() -> bool:
    found = kubectl("-n", "reprise-system", "get", "daemonsets", "-o", "jsonpath={.items[*].status.numberReady}")
    return found.split() == [str(len(NODES))] * 3
