"""Every metric that the code registers, by importing all of it."""

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.metrics import Enum, MetricWrapperBase

SERVICES = ("scheduler", "checkpointer", "transfer", "restorer", "health_watcher", "console")
EVERY = "every service"
OF_ARBITER = "reprise.health_watcher.arbiter"
"""In the package of another service, and a service of its own."""
WHERE = {"runtime": EVERY, "archive": "transfer, restorer"} | {name: name.replace("_", "-") for name in SERVICES}


@dataclass(frozen=True)
class Registered:
    """name: as it is exposed, a counter's with _total. where: which services have it."""

    name: str
    type: str
    labels: tuple[str, ...]
    where: str
    says: str

    @property
    def exposed(self) -> tuple[str, ...]:
        """The names of its series."""
        parts = ("_bucket", "_sum", "_count") if self.type == "histogram" else ("",)
        return tuple(self.name + part for part in parts)


def registered() -> dict[str, Registered]:
    found: dict[str, Registered] = {}
    for where, module in _modules():
        for value in vars(module).values():
            if isinstance(value, MetricWrapperBase):
                metric = _registered(value, where)
                found.setdefault(metric.name, metric)
    return found


def _modules() -> Iterator[tuple[str, object]]:
    """Packages first: what a service imports from them is theirs."""
    for package, where in WHERE.items():
        parent = importlib.import_module(f"reprise.{package}")
        for info in pkgutil.walk_packages(parent.__path__, f"reprise.{package}."):
            yield "arbiter" if info.name == OF_ARBITER else where, importlib.import_module(info.name)


def _registered(metric: MetricWrapperBase, where: str) -> Registered:
    """The client tells labels and type by private names only."""
    described = next(iter(metric.describe()))
    name = described.name + ("_total" if described.type == "counter" else "")
    own = (name,) if isinstance(metric, Enum) else ()
    kind = "gauge" if own else described.type
    return Registered(name, kind, (*metric._labelnames, *own), where, described.documentation)
