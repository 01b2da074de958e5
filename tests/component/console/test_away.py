"""What the console shows while what it needs is away: that it is so, and that nothing is lost."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from conftest import PROGRAM, console, environment, free_port, nats_server, running, wait
from reprise.console.app import app
from reprise.console.asking import Asking
from reprise.console.gate import Gate
from reprise.console.ledger import Ledger
from reprise.console.stream import Tails
from reprise.console.web.rendering import Pages
from reprise.runtime.bus import Bus
from world import World, publish

pytestmark = pytest.mark.component


async def test_without_a_database_pages_and_rest_say_so(tmp_path: Path) -> None:
    ledger = Ledger(f"host={tmp_path}")
    await ledger.open()
    gate = Gate(None, anonymous=True)
    made = app(ledger, Tails(Bus("", "test")), Pages(lambda: True, ""), gate, Asking(gate, ledger, None))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(made), base_url="http://console", timeout=30) as client:
        page, rest = await client.get("/"), await client.get("/api/v1/events")
        stream = await client.get("/api/v1/events/stream")
    await ledger.close()
    assert (page.status_code, rest.status_code, stream.status_code) == (503, 503, 503)
    assert "The ledger is away" in page.text and "none is lost" in page.text
    assert rest.json()["detail"].startswith("the database does not answer")
    assert stream.json()["detail"].startswith("NATS does not answer")


def test_without_nats_pages_are_shown_and_say_that_they_may_be_old(tmp_path: Path, database: Callable[[str], str]) -> None:
    port = free_port()
    with nats_server(tmp_path, port) as server, console(tmp_path, database("cutoff"), port) as found:
        found.tell(list(World(datetime.now(UTC)).notebook()))
        assert "cut off from NATS" not in found.get("/").text
        server.kill()
        wait(lambda: "cut off from NATS" in found.get("/").text)
        assert "notebook" in found.get("/").text


def test_it_ends_at_once_while_the_database_is_away_and_nothing_is_lost(tmp_path: Path, database: Callable[[str], str]) -> None:
    port, web, events = free_port(), free_port(), list(World(datetime.now(UTC)).ingest())
    nowhere = f"postgresql://postgres:@/none?host={tmp_path}"
    with nats_server(tmp_path, port):
        with running([PROGRAM], tmp_path / "console.log", environment(nowhere, port, web)) as process:
            wait(lambda: port_answers(web))
            asyncio.run(publish(f"nats://127.0.0.1:{port}", events))
            wait(lambda: "the database does not answer, waiting" in (tmp_path / "console.log").read_text())
            process.terminate()
            assert process.wait(8) == 0
        with console(tmp_path, database("later"), port) as again:
            wait(lambda: again.count() == len(events), 60)


def port_answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    except httpx.HTTPError:
        return False
