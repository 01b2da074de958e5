"""A session over an in-memory store and a console that is told what to answer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from reprise.archive.checker import Copies
from reprise.archive.manifest import Manifest
from reprise.archive.repository import Repository
from reprise.archive.testing import FixedKeys, MemoryStore, build, members, tasks
from reprise.cli.main import app
from reprise.cli.ports import ClusterError, Workloads
from reprise.contracts.model import Target, Workload
from typer.testing import CliRunner, Result

COUNTER = Workload(namespace="default", name="counter")


class MemoryCopies:
    """What nodes still hold."""

    def __init__(self) -> None:
        self.packs: dict[str, bytes] = {}

    def read(self, key: str) -> bytes | None:
        return self.packs.get(key)


class FakeSession:
    def __init__(self) -> None:
        self.store, self.held = MemoryStore(), MemoryCopies()
        self.rows: list[dict[str, Any]] = []
        self.asked: list[str | None] = []
        self.failures: list[Exception] = []

    @contextmanager
    def repository(self, *, keys: bool = False) -> Iterator[Repository]:
        yield Repository(self.store, FixedKeys() if keys else None)

    def copies(self) -> Copies:
        return self.held

    @contextmanager
    def console(self) -> Iterator[Workloads]:
        def workloads(namespace: str | None) -> list[dict[str, Any]]:
            if self.failures:
                raise self.failures.pop(0)
            self.asked.append(namespace)
            return self.rows

        yield workloads

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
