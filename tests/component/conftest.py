"""Real servers, one process each, on loopback ports of their own."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from reprise.archive.store import S3Store


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Server:
    """A process that can be stopped and started again on the same port."""

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
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise TimeoutError(f"{self._command[0]} did not listen on {self.port}")

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def wipe(self) -> None:
        """Its data is lost."""
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[Server]:
    port, binary = free_port(), Path(sys.executable).parent / "nats-server"
    command = [str(binary), "-js", "-sd", str(tmp_path / "nats"), "-a", "127.0.0.1", "-p", str(port)]
    server = Server(command, port, tmp_path / "nats")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def minio_server(tmp_path: Path) -> Iterator[Server]:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    binary = cache / "reprise-lab/bin/minio"
    if not binary.exists():
        pytest.fail("MinIO is not built: `make component` does it, or `make build`")
    port = free_port()
    env = {"MINIO_ROOT_USER": "reprise", "MINIO_ROOT_PASSWORD": "reprise-test"}
    command = [str(binary), "server", str(tmp_path / "minio"), "--address", f"127.0.0.1:{port}", "--quiet"]
    server = Server(command, port, tmp_path / "minio", env)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def store(minio_server: Server) -> S3Store:
    found = S3Store(endpoint=f"127.0.0.1:{minio_server.port}", access_key="reprise", secret_key="reprise-test", bucket="reprise")
    end = time.monotonic() + 20
    while True:
        try:
            found.check()
            return found
        except Exception:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
