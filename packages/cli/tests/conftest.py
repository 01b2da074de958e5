"""A session over an in-memory store and a console that is told what to answer."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from reprise.archive.checker import Copies
from reprise.archive.manifest import Manifest
from reprise.archive.repository import Repository
from reprise.archive.testing import FixedKeys, MemoryStore, build, members, tasks
from reprise.cli.main import app
from reprise.cli.ports import ClusterError, Console, Sent, Stream
from reprise.contracts.model import Target, Workload
from typer.testing import CliRunner, Result

COUNTER = Workload(namespace="default", name="counter")


class MemoryCopies:
    """What nodes still hold."""

    def __init__(self) -> None:
        self.packs: dict[str, bytes] = {}

    def read(self, key: str) -> bytes | None:
        return self.packs.get(key)


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
        return self._session.tables.get(table, [])[:most]

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


class FakeSession:
    def __init__(self) -> None:
        self.store, self.held = MemoryStore(), MemoryCopies()
        self.rows: list[dict[str, Any]] = []
        self.asked: list[str | None] = []
        self.failures: list[Exception | None] = []
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self.events: list[Sent] = []
        self.filters: dict[str, str] = {}
        self.after: list[str] = []
        self.subject, self.since = "", datetime.min

    @contextmanager
    def repository(self, *, keys: bool = False) -> Iterator[Repository]:
        yield Repository(self.store, FixedKeys() if keys else None)

    def copies(self) -> Copies:
        return self.held

    @contextmanager
    def console(self) -> Iterator[Console]:
        yield FakeConsole(self)

    @contextmanager
    def stream(self) -> Iterator[Stream]:
        yield FakeStream(self)

    def namespace(self) -> str:
        return "from-context"

    def require_namespace(self, name: str) -> None:
        if name == "nosuch":
            raise ClusterError("there is no such namespace", subject="namespace nosuch", remedy="list them")


@pytest.fixture
def session() -> FakeSession:
    return FakeSession()


@pytest.fixture
def reprise(session: FakeSession) -> Callable[..., Result]:
    """Run it as a user would, over the fake session."""
    return lambda *words: CliRunner().invoke(app, words, obj=session)


@pytest.fixture
def write(session: FakeSession, tmp_path: Path) -> Callable[..., Manifest]:
    """Store an archive under this id."""

    def write(checkpoint_id: str, workload: Workload = COUNTER) -> Manifest:
        path = tmp_path / f"checkpoint-{checkpoint_id}.tar"
        path.write_bytes(build(members() | tasks(1)))
        return Repository(session.store, FixedKeys()).write_archive(
            path, checkpoint_id=checkpoint_id, workload=workload, trigger="interval",
            target=Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1"),
        )  # fmt: skip

    return write
