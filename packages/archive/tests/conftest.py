"""A repository over an in-memory store, and a way to write archives into it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from reprise.archive.manifest import Manifest
from reprise.archive.repository import Repository
from reprise.archive.testing import FixedKeys, MemoryStore, build
from reprise.contracts.model import Target, Workload

WORKLOAD = Workload(namespace="default", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def repository(store: MemoryStore) -> Repository:
    return Repository(store, FixedKeys())


@pytest.fixture
def write(repository: Repository, tmp_path: Path) -> Callable[..., Manifest]:
    """Store an archive under this id."""

    def write(
        checkpoint_id: str = "ck1", data: bytes | None = None, target: Target = TARGET, into: Repository = repository
    ) -> Manifest:
        path = tmp_path / f"checkpoint-{checkpoint_id}.tar"
        path.write_bytes(build() if data is None else data)
        return into.write_archive(path, checkpoint_id=checkpoint_id, workload=WORKLOAD, target=target, trigger="interval")

    return write
