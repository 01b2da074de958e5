"""A session over an in-memory store and a console that is told what to answer."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from reprise.archive.crypto import KeyWrapper
from reprise.archive.damage import Copies
from reprise.archive.manifest import Manifest
from reprise.archive.repository import Repository
from reprise.archive.testing import FixedKeys, MemoryStore, build, members, tasks
from reprise.cli.main import app
from reprise.cli.ports import (
    Claimed,
    ClusterError,
    Console,
    ConsoleError,
    Hosted,
    KeySecret,
    Mover,
    NodeFacts,
    Objects,
    PodFacts,
    Sent,
    Stream,
    Support,
    Told,
)
from reprise.contracts.model import Target, Workload
from typer.testing import CliRunner, Result

COUNTER = Workload(namespace="default", name="counter")


class MemoryCopies:
    """What nodes still hold."""

    def __init__(self) -> None:
        self.packs: dict[str, bytes] = {}

    def read(self, key: str) -> bytes | None:
        return self.packs.get(key)


class MemoryMover:
    """Two nodes; answers: what is told once a move was asked for, or the node cordoned."""

    def __init__(self) -> None:
        self.cordoned = {"n1": False, "n2": False}
        self.pods = [Hosted(COUNTER, "counter-1", "n1")]
        self.events = [Told("e0", "Moved", "an earlier one of pod counter-1 itself")]
        self.answers: list[Told] = []
        self.forced: list[tuple[str, str]] = []
        self.leave: list[str] = []
        """Pods that are gone from the first node then."""

    def told(self, workload: Workload) -> list[Told]:
        return self.events

    def nodes(self) -> dict[str, bool]:
        return dict(self.cordoned)

    def cordon(self, node: str) -> None:
        self.cordoned[node] = True
        self.happens()

    def uncordon(self, node: str) -> None:
        self.cordoned[node] = False

    def hosted(self, node: str) -> list[Hosted]:
        return [pod for pod in self.pods if pod.node == node]

    def force_failovers(self, namespace: str, request: str) -> None:
        self.forced.append((namespace, request))

    def happens(self) -> None:
        self.events += self.answers
        self.pods = [pod for pod in self.pods if pod.pod not in self.leave]


class FakeConsole:
    """Answers what it is told to; remembers what was asked."""

    def __init__(self, session: "FakeSession") -> None:
        self._session = session

    def workloads(self, namespace: str | None) -> list[dict[str, Any]]:
        self._fail()
        self._session.asked.append(namespace)
        return self._session.rows

    def rows(self, table: str, filters: Mapping[str, str], most: int) -> list[dict[str, Any]]:
        self._fail()
        self._session.filters = dict(filters)
        named = f"{table}:{filters.get('type', '')}"
        return self._session.tables.get(named, self._session.tables.get(table, []))[:most]

    def forecast(self, node: str) -> dict[str, Any]:
        self._fail()
        if node not in self._session.forecasts:
            raise ConsoleError(f"no event has told of a node {node}", subject="console", reason="NotFound")
        return self._session.forecasts[node]

    def tail(self, filters: Mapping[str, str], after: str = "") -> Iterator[Sent]:
        self._fail()
        self._session.filters, self._session.after = dict(filters), [*self._session.after, after]
        yield from self._session.events
        self._fail()
        raise KeyboardInterrupt

    def _fail(self) -> None:
        if self._session.failures:
            failure = self._session.failures.pop(0)
            if failure:
                raise failure


class FakeStream:
    def __init__(self, session: "FakeSession") -> None:
        self._session = session

    def replay(self, subject: str, since: datetime) -> Iterator[Sent]:
        self._session.subject, self._session.since = subject, since
        yield from self._session.events


class FakeObjects:
    """A cluster with what a test puts there."""

    def __init__(self) -> None:
        self.claims: dict[tuple[str, str], Claimed] = {}
        self.found: list[PodFacts] = []
        self.written: list[tuple[str, dict[str, str | None]]] = []
        self.set: list[tuple[str, dict[str, Any]]] = []
        self.on_annotate: Callable[[], None] = lambda: None
        self.told: dict[str, Any] = {"nodes": [], "running": [], "configz": {}, "may": True, "cgroup": 2}
        self.labels: dict[str, list[tuple[str, str, str]]] = {}

    def add(self, name: str, kind: str = "Deployment", annotations: dict[str, str] | None = None, **spec: Any) -> Claimed:
        workload = Workload.model_validate({"namespace": "shop", "kind": kind, "name": name})
        made = {"containers": [{"name": "app", "image": "app:1", "livenessProbe": {"httpGet": {"path": "/"}}}]} | spec
        self.claims[kind, name] = Claimed(workload, annotations or {}, made, 1, {"app": name})
        return self.claims[kind, name]

    def names(self, namespace: str) -> list[tuple[str, str]]:
        return list(self.claims) if namespace == "shop" else []

    def labelled(self, namespace: str | None, selector: str) -> list[tuple[str, str, str]]:
        return [key for key in self.labels.get(selector, []) if namespace in (None, key[0])]

    def read(self, workload: Workload) -> Claimed:
        return self.claims[workload.kind, workload.name]

    def annotate(self, workload: Workload, annotations: Mapping[str, str | None]) -> None:
        self.written.append((str(workload), dict(annotations)))
        self.on_annotate()

    def merge(self, workload: Workload, spec: Mapping[str, Any]) -> None:
        self.set.append((str(workload), dict(spec)))

    def pods(self, claimed: Claimed) -> list[PodFacts]:
        return self.found

    def nodes(self) -> list[NodeFacts]:
        return list(self._answer("nodes"))

    def configz(self, node: str) -> dict[str, Any]:
        return dict(self._answer("configz"))

    def cgroup(self, node: str) -> int | None:
        told = self._answer("cgroup")
        return None if told is None else int(told)

    def may(self, account: str, namespace: str, verb: str, resource: str, subresource: str = "") -> bool:
        return bool(self._answer("may"))

    def running(self, namespace: str) -> list[tuple[str, str, bool]]:
        return list(self._answer("running"))

    def now(self) -> datetime:
        return datetime(2026, 11, 24, 12, tzinfo=UTC)

    def _answer(self, name: str) -> Any:
        if isinstance(self.told[name], Exception):
            raise self.told[name]
        return self.told[name]


class FakeSession:
    def __init__(self) -> None:
        self.store, self.held = MemoryStore(), MemoryCopies()
        self.keys: KeyWrapper = FixedKeys()
        self.rows: list[dict[str, Any]] = []
        self.asked: list[str | None] = []
        self.moving = MemoryMover()
        self.failures: list[Exception | None] = []
        self.cluster = FakeObjects()
        self.cluster.on_annotate = self.moving.happens
        self.system_namespace = "reprise-system"
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self.events: list[Sent] = []
        self.filters: dict[str, str] = {}
        self.after: list[str] = []
        self.subject, self.since = "", datetime.min
        self.chosen, self.named_namespace = ("", ""), ""
        self.forecasts: dict[str, dict[str, Any]] = {}
        self.rotating: KeySecret | None = None
        self.supporting: Support | None = None
        self.address = "http://127.0.0.1:8080"

    def choose(self, kubeconfig: str, context: str, namespace: str) -> None:
        self.chosen = (kubeconfig or self.chosen[0], context or self.chosen[1])
        self.named_namespace = namespace or self.named_namespace

    def key_secret(self) -> KeySecret | None:
        return self.rotating

    def support(self) -> Support:
        assert self.supporting
        return self.supporting

    @contextmanager
    def console_address(self, local: int) -> Iterator[str]:
        yield self.address

    @contextmanager
    def repository(self, *, keys: bool = False) -> Iterator[Repository]:
        yield Repository(self.store, self.keys if keys else None)

    def copies(self) -> Copies:
        return self.held

    def objects(self) -> Objects:
        return self.cluster

    @contextmanager
    def console(self) -> Iterator[Console]:
        yield FakeConsole(self)

    @contextmanager
    def stream(self) -> Iterator[Stream]:
        yield FakeStream(self)

    def mover(self) -> Mover:
        return self.moving

    def namespace(self) -> str:
        return self.named_namespace or "from-context"

    def require_namespace(self, name: str) -> None:
        if name == "nosuch":
            raise ClusterError("there is no such namespace", subject="namespace nosuch", remedy="list them")


@pytest.fixture
def session() -> FakeSession:
    return FakeSession()


@pytest.fixture
def reprise(session: FakeSession) -> Callable[..., Result]:
    """Run it as a user would, over the fake session."""

    def run(*words: str, answer: str = "") -> Result:
        session.named_namespace = ""
        return CliRunner().invoke(app, words, obj=session, input=answer)

    return run


@pytest.fixture
def write(session: FakeSession, tmp_path: Path) -> Callable[..., Manifest]:
    """Store an archive under this id."""

    def write(checkpoint_id: str, workload: Workload = COUNTER) -> Manifest:
        path = tmp_path / f"checkpoint-{checkpoint_id}.tar"
        path.write_bytes(build(members() | tasks(1)))
        return Repository(session.store, session.keys).write_archive(
            path, checkpoint_id=checkpoint_id, workload=workload, trigger="interval",
            target=Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1"),
        )  # fmt: skip

    return write
