"""Real servers, one process each, on loopback ports of their own."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from reprise.archive.s3 import S3Store, s3_store
from reprise.archive.settings import StoreSettings
from reprise.contracts.errors import StoreUnavailable

USER, PASSWORD, DOMAIN = "reprise", "reprise-test", "s3.test"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Server:
    """A process that can be stopped and started again on the same port."""

    host = "127.0.0.1"

    def __init__(self, command: list[str], port: int, folder: Path, env: dict[str, str] | None = None) -> None:
        self.port, self.folder = port, folder
        self._command, self._env = command, os.environ | (env or {})
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._env, stdout=log, stderr=log)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex((self.host, self.port)) == 0:
                    return
            time.sleep(0.02)
        raise TimeoutError(f"{self._command[0]} did not listen on {self.port}")

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal(self, number: int) -> None:
        assert self._process
        self._process.send_signal(number)

    def wipe(self) -> None:
        """Its data is lost."""
        shutil.rmtree(self.folder, ignore_errors=True)


def nats(folder: Path) -> Server:
    port, binary = free_port(), Path(sys.executable).parent / "nats-server"
    return Server([str(binary), "-js", "-sd", str(folder), "-a", "127.0.0.1", "-p", str(port)], port, folder)


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[Server]:
    server = nats(tmp_path / "nats")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def shared_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests of a module that leave it as it is."""
    server = nats(tmp_path_factory.mktemp("shared") / "nats")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def three(tmp_path: Path) -> Iterator[list[Server]]:
    """A cluster of three servers."""
    ports, routes = [free_port() for _ in range(3)], [free_port() for _ in range(3)]
    binary = Path(sys.executable).parent / "nats-server"
    servers = []
    for number, (port, route) in enumerate(zip(ports, routes, strict=True)):
        peers = ",".join(f"nats://127.0.0.1:{each}" for each in routes)
        folder = tmp_path / f"n{number}"
        command = [str(binary), "-js", "-sd", str(folder), "-a", "127.0.0.1", "-p", str(port), "-n", folder.name,
                   "-cluster_name", "reprise", "-cluster", f"nats://127.0.0.1:{route}", "-routes", peers]  # fmt: skip
        servers.append(Server(command, port, folder))
    for server in servers:
        server.start()
    yield servers
    for server in servers:
        server.stop()


Serve = Callable[..., Server]


def _serving() -> Iterator[Serve]:
    started: list[Server] = []

    def start(folder: Path, command: Callable[[Path, int], list[str]], port: int = 0, host: str = Server.host) -> Server:
        port = port or free_port()
        started.append(Server(command(folder, port), port, folder))
        started[-1].host = host
        started[-1].start()
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    """Start a server by the command that is made of its folder and its port, which is a free one if none is named."""
    yield from _serving()


@pytest.fixture
def free_ports() -> list[int]:
    """More than a test needs."""
    return [free_port() for _ in range(8)]


@pytest.fixture
def serve_once() -> Iterator[Serve]:
    """The same for a test that harms its servers."""
    yield from _serving()


class S3Server(Server):
    """One of the S3 servers that the store must get on with."""

    def __init__(self, name: str, command: list[str], port: int, folder: Path, env: dict[str, str], ca: Path | None) -> None:
        super().__init__(command, port, folder, env)
        self.name, self.ca = name, ca

    def settings(self, **changed: Any) -> StoreSettings:
        known = {"endpoint": f"127.0.0.1:{self.port}", "access_key": USER, "secret_key": PASSWORD, "attempts": 2}
        return StoreSettings(**(known | {"secure": self.ca is not None, "ca_file": self.ca} | changed))

    def ready(self, store: S3Store) -> S3Store:
        """Wait until the store answers: a server listens before it can serve."""
        end = time.monotonic() + 40
        while True:
            try:
                store.check()
                store.put(".reprise/ready", b"ready")
                return store
            except StoreUnavailable:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)


def binary(name: str) -> str:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = cache / "reprise-lab/bin" / name
    if not found.exists():
        pytest.fail(f"{name} is not built: `make component` does it, or `make build`")
    return str(found)


@pytest.fixture
def minio_binary() -> str:
    return binary("minio")


def minio(folder: Path, port: int, certificates: Path | None) -> S3Server:
    """certificates holds ca.pem, public.crt and private.key."""
    env = {"MINIO_ROOT_USER": USER, "MINIO_ROOT_PASSWORD": PASSWORD, "MINIO_DOMAIN": DOMAIN}
    tls = ["--certs-dir", str(certificates)] if certificates else []
    command = [binary("minio"), "server", str(folder), "--address", f"127.0.0.1:{port}", "--quiet", *tls]
    return S3Server("minio", command, port, folder, env, certificates and certificates / "ca.pem")


def seaweedfs(folder: Path, port: int, certificates: Path | None) -> S3Server:
    """Master, volume server, filer and S3 gateway in one process; every port is given, for it would take fixed ones.

    Volumes in plenty: each bucket takes several.
    """
    config = folder.with_suffix(".json")
    identity = {"name": "test", "credentials": [{"accessKey": USER, "secretKey": PASSWORD}], "actions": ["Admin"]}
    config.write_text(json.dumps({"identities": [identity]}))
    ports = [f"-{part}.port{kind}={free_port()}" for part in ("master", "volume", "filer") for kind in ("", ".grpc")]
    tls = [f"-s3.cert.file={certificates}/public.crt", f"-s3.key.file={certificates}/private.key"] if certificates else []
    command = [
        binary("weed"), "server", f"-dir={folder}", "-ip=127.0.0.1", *ports, "-volume.max=1000", "-volume.preStopSeconds=0",
        "-master.telemetry=false", "-master.electionTimeout=1s", "-master.volumeSizeLimitMB=256", "-filer", "-s3",
        f"-s3.port={port}", f"-s3.port.grpc={free_port()}", "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={config}",
        f"-s3.domainName={DOMAIN}", "-s3.autoCreateBucket=false", *tls,
    ]  # fmt: skip
    return S3Server("seaweedfs", command, port, folder, {}, certificates and certificates / "ca.pem")


Launch = Callable[..., S3Server]


@pytest.fixture(scope="session", params=[minio, seaweedfs], ids=["minio", "seaweedfs"])
def s3_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One of each kind for all tests that leave it as it is: SeaweedFS takes ten seconds to start."""
    server: S3Server = request.param(tmp_path_factory.mktemp("shared") / "s3", free_port(), None)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: S3Server) -> S3Store:
    """A bucket of the test's own on each kind of server."""
    return s3_server.ready(s3_store(s3_server.settings(bucket=f"test-{uuid.uuid4().hex[:12]}")))


@pytest.fixture(params=[minio, seaweedfs], ids=["minio", "seaweedfs"])
def launch(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Launch]:
    """Start a server of the test's own; certificates: a folder, for TLS."""
    started: list[S3Server] = []

    def start(certificates: Path | None = None) -> S3Server:
        server: S3Server = request.param(tmp_path / f"s3-{len(started)}", free_port(), certificates)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def own_server(launch: Launch) -> S3Server:
    """To be killed."""
    return launch()


@pytest.fixture
def own(own_server: S3Server) -> S3Store:
    return own_server.ready(s3_store(own_server.settings()))


@pytest.fixture
def minio_server(tmp_path: Path) -> Iterator[S3Server]:
    server = minio(tmp_path / "minio", free_port(), None)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def store(minio_server: S3Server) -> S3Store:
    return minio_server.ready(s3_store(minio_server.settings()))
