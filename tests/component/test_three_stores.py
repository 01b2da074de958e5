"""MinIO as `overlays/production` has it: six drives of three servers, one of which ends."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reprise.archive.s3 import S3Store, s3_store
from reprise.archive.settings import StoreSettings
from reprise.contracts.errors import StoreUnavailable

pytestmark = pytest.mark.component
USER, PASSWORD = "reprise", "reprise-test"
PACK = os.urandom(8 << 20)


@pytest.fixture
def stores(tmp_path: Path, serve_once: Callable[..., Any], free_ports: list[int], minio_binary: str) -> list[tuple[Any, S3Store]]:
    """Each server, and the store by its address."""
    # An address each: servers that share one take each other's drives for their own.
    addresses = [(f"127.0.0.{number}", port) for number, port in enumerate(free_ports[:3], start=2)]
    drives = [f"http://{host}:{port}{tmp_path}/{port}/data-{number}" for host, port in addresses for number in range(2)]
    hosts = {port: host for host, port in addresses}

    def command(folder: Path, port: int) -> list[str]:
        # Drives on the disk of the machine's own root are refused otherwise, and in a container each address of loopback's.
        local = f"{hosts[port]}:{port}"
        told = {"MINIO_ROOT_USER": USER, "MINIO_ROOT_PASSWORD": PASSWORD, "MINIO_CI_CD": "1", "_MINIO_SERVER_LOCAL": local}
        env = ["/usr/bin/env", *(f"{name}={value}" for name, value in told.items())]
        return [*env, minio_binary, "server", *drives, "--address", local, "--quiet", "--no-compat"]

    servers = [serve_once(tmp_path / str(port), command, port, host) for host, port in addresses]
    known: dict[str, Any] = {"access_key": USER, "secret_key": PASSWORD, "attempts": 4}
    return [(server, s3_store(StoreSettings(endpoint=f"{server.host}:{server.port}", **known))) for server in servers]


def ready(store: S3Store) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            store.check()
            store.put(".reprise/ready", b"ready")
            return
        except StoreUnavailable:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def test_without_one_node_of_three_what_is_stored_can_be_read_and_more_can_be_stored(stores: list[tuple[Any, S3Store]]) -> None:
    (one, first), (_, second), (_, third) = stores
    for _, store in stores:
        ready(store)
    first.put("packs/a", PACK)
    assert first.create("archives/a", b"manifest")
    one.stop()
    for store in (second, third):
        ready(store)  # for a moment the others answer "slow down", until they have noticed
    assert second.get("packs/a") == third.get("packs/a") == PACK
    assert not second.create("archives/a", b"another"), "a condition holds as before"
    second.put("packs/b", PACK)
    assert third.create("archives/b", b"manifest")
    assert {entry.key for entry in third.list("archives/")} == {"archives/a", "archives/b"}
    assert third.get("packs/b") == PACK
