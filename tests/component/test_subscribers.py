"""The example subscribers, each as its user would run it, on a real NATS with every example event on the stream."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
from reprise.contracts import examples
from reprise.contracts.events import ALL
from reprise.runtime.bus import Bus
from reprise_lab.build import go_env
from reprise_lab.paths import UV

pytestmark = pytest.mark.component
ROOT = Path(__file__).parents[2]
SUBSCRIBERS = ROOT / "examples/subscribers"
FAILOVERS = [event.TYPE for event in ALL if event.TYPE.startswith("failover.")]


@pytest.fixture
def stream(nats_server: Any) -> Iterator[str]:
    """The URL of a NATS whose stream holds every example."""
    url = f"nats://127.0.0.1:{nats_server.port}"

    async def publish() -> None:
        bus = Bus(url, "test")
        await bus.connect()
        for event in ALL:
            subject, payload, headers = examples.published(event)
            await bus.jetstream.publish(subject, payload, headers=headers)
        await bus.drain(1)

    asyncio.run(publish())
    yield url


def lines(command: list[str], url: str, count: int, seconds: float = 60) -> list[str]:
    """What the program prints, until it printed `count` lines; it is ended then."""
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, env=os.environ | {"NATS_URL": url}, stdout=out)
        end = time.monotonic() + seconds
        try:
            while process.poll() is None and time.monotonic() < end:
                out.seek(0)
                if out.read().count("\n") >= count:
                    break
                time.sleep(0.05)
        finally:
            process.kill()
            process.wait()
        out.seek(0)
        return out.read().splitlines()


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has the built wheel of reprise-contracts, what it asks for, nats-py, and nothing else."""
    folder = tmp_path_factory.mktemp("alone")

    def run(*command: str | Path) -> None:
        subprocess.run([UV, *command, "--quiet"], check=True, cwd=folder, env=os.environ | {"UV_NO_CONFIG": "1"})

    run("build", ROOT / "packages/contracts", "--out-dir", folder / "dist")
    run("venv", "--python", sys.executable, folder / "venv")
    python = folder / "venv/bin/python"
    run("pip", "install", "--python", python, *(folder / "dist").glob("*.whl"), "nats-py")
    return python


def test_the_contracts_alone_are_enough_for_the_python_subscriber(alone: Path, stream: str) -> None:
    told = lines([str(alone), str(SUBSCRIBERS / "python/subscriber.py")], stream, len(FAILOVERS))
    assert [line.split()[1] for line in told] == FAILOVERS
    assert "deployment/counter in shop on n1" in told[0]


def test_the_wheel_has_no_more_than_it_says(alone: Path) -> None:
    script = (
        "import importlib, pkgutil, importlib.metadata as m, reprise.contracts as c\n"
        "[importlib.import_module(f'reprise.contracts.{p.name}') for p in pkgutil.iter_modules(c.__path__)]\n"
        "print(sorted(d.name for d in m.distributions()), sorted(r.split('>')[0] for r in m.requires('reprise-contracts')))\n"
        "print((__import__('pathlib').Path(c.__file__).parent / 'py.typed').exists())"
    )
    told = subprocess.run([alone, "-I", "-c", script], capture_output=True, text=True, check=True).stdout
    installed, typed = told.splitlines()
    assert installed.endswith("['pydantic', 'python-ulid']")
    assert "reprise-runtime" not in installed
    assert typed == "True"


def test_the_schemas_alone_are_enough_for_the_go_subscriber(stream: str, tmp_path: Path) -> None:
    binary = tmp_path / "subscriber"
    env = go_env() | {"GOFLAGS": "-buildvcs=false"}
    subprocess.run(["go", "build", "-o", binary, "."], cwd=SUBSCRIBERS / "go", env=env, check=True)
    assert lines([str(binary)], stream, 1) == ["shop/counter serves on n1, 0.7 s after its crash"]


async def test_an_example_is_stored_once(stream: str) -> None:
    client = await nats.connect(stream)
    subject, payload, headers = examples.published(ALL[0])
    again = await client.jetstream().publish(subject, payload, headers=headers)
    assert again.duplicate
    await client.close()
