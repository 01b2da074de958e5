"""The page of a stored checkpoint, made of CRIU 4.2's own images; who may see it is in tests/component/console."""

import io
import lzma
from pathlib import Path

import httpx
from fastapi import Depends, FastAPI
from reprise.archive.inspection import Inspection
from reprise.archive.inspector import inspect_file
from reprise.console.access import Right, Who
from reprise.console.gate import Gate
from reprise.console.web import inspected, pages
from reprise.console.web.rendering import Pages
from reprise.contracts.errors import StoreUnavailable
from reprise.contracts.model import Workload

REAL = lzma.decompress((Path(__file__).parents[3] / "packages/archive/tests/criu-4.2.tar.xz").read_bytes())
PAGE = "/workloads/default/deployment/counter/checkpoints/20261124t101112123-1a2b3c4d5e?container=counter"
TOKEN = {"Authorization": "Bearer a.b.c"}


class Everybody:
    """Implements ports.Accounts; asked: for which rights."""

    def __init__(self) -> None:
        self.asked: list[Right] = []

    async def identify(self, _token: str) -> Who:
        return Who("ada")

    async def allowed(self, _who: Who, right: Right) -> bool:
        self.asked.append(right)
        return True


class Stored:
    """Implements ports.Inspections."""

    down = False

    async def inspect(self, _workload: Workload, container: str, checkpoint_id: str) -> Inspection | None:
        if self.down:
            raise StoreUnavailable("it does not answer", subject="minio:9000")
        return inspect_file(io.BytesIO(REAL), checkpoint_id) if container == "counter" else None


def site(accounts: Everybody, stored: Stored) -> httpx.AsyncClient:
    gate, rendering = Gate(accounts, anonymous=True), Pages(lambda: True, "")
    made = FastAPI()
    made.include_router(inspected.router(gate, rendering, stored), dependencies=[Depends(gate.reader)])
    made.include_router(pages.statics())
    return httpx.AsyncClient(transport=httpx.ASGITransport(made), base_url="http://console.test")


async def test_it_shows_processes_memory_files_sockets_and_the_log() -> None:
    accounts = Everybody()
    async with site(accounts, Stored()) as client:
        text = (await client.get(PAGE, headers=TOKEN)).text
    for told in (
        "/usr/bin/python3 -I -S app.py",
        "heap",
        "/srv/demo/data.txt",
        "/srv/demo/gone.txt (deleted)",
        "LISTEN",
        "flock",
    ):
        assert told in text, told
    assert accounts.asked == [Right("read", "checkpoints", "default", "counter")]


async def test_nobody_sees_it_without_a_token_though_anybody_may_read() -> None:
    accounts = Everybody()
    async with site(accounts, Stored()) as client:
        assert (await client.get(PAGE)).status_code == 401
    assert not accounts.asked


async def test_what_is_not_stored_and_a_store_that_is_away_are_told_apart() -> None:
    stored = Stored()
    async with site(Everybody(), stored) as client:
        assert (await client.get(PAGE.replace("=counter", "=other"), headers=TOKEN)).status_code == 404
        stored.down = True
        assert (await client.get(PAGE, headers=TOKEN)).status_code == 503
