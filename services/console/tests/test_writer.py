"""Events wait while the database is away, are written together, and are let go of when the console ends. In virtual time."""

import asyncio

import looptime
import psycopg
import pytest
from reprise.console.ledger import Ledger
from reprise.console.writer import MOST, Writer
from reprise.contracts.events import Event, NodeLost, node_subject

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]


class Stub(Ledger):
    """A ledger whose database is away for some attempts. batches: what was written, by transaction."""

    def __init__(self, away: int = 0) -> None:
        self.away, self.batches = away, list[list[str]]()
        self.migrated = True

    async def record_all(self, traced: list[tuple[Event, str]]) -> None:
        if self.away:
            self.away -= 1
            raise psycopg.OperationalError("connection refused")
        details = [str(getattr(event, "detail", "")) for event, _ in traced]
        if "bad" in details:
            raise psycopg.DataError("no such text")
        self.batches.append(details)


async def prepared() -> None:
    """The tables are there."""


def event(detail: str) -> NodeLost:
    return NodeLost(node="n1", workload=node_subject("n1"), detail=detail)


async def outcomes(writer: Writer, *details: str) -> list[object]:
    waiting = [asyncio.create_task(writer.write(event(each), "")) for each in details]
    run = asyncio.create_task(writer.run())
    done = await asyncio.gather(*waiting, return_exceptions=True)
    run.cancel()
    return list(done)


async def test_what_waits_is_written_together_up_to_a_limit() -> None:
    ledger = Stub()
    assert await outcomes(Writer(ledger, prepared), *map(str, range(MOST + 1))) == [None] * (MOST + 1)
    assert [len(batch) for batch in ledger.batches] == [MOST, 1]


async def test_while_the_database_is_away_they_wait(looptime: looptime.LoopTimeProxy) -> None:
    ledger = Stub(away=3)
    assert await outcomes(Writer(ledger, prepared), "a", "b") == [None, None]
    assert ledger.batches == [["a", "b"]]
    assert looptime == 0.5 + 1 + 2


async def test_one_that_is_refused_keeps_no_other_from_being_written() -> None:
    ledger = Stub()
    first, second, third = await outcomes(Writer(ledger, prepared), "a", "bad", "c")
    assert (first, third) == (None, None) and isinstance(second, psycopg.DataError)
    assert ledger.batches == [["a"], ["c"]]


async def test_the_end_lets_go_of_all_of_them_and_takes_no_more() -> None:
    writer = Writer(Stub(away=1000), prepared)
    run = asyncio.create_task(writer.run())
    waiting = [asyncio.create_task(writer.write(event("a"), ""))]
    await asyncio.sleep(5)
    waiting.append(asyncio.create_task(writer.write(event("b"), "")))
    await asyncio.sleep(0)
    await writer.stop()
    run.cancel()
    done = await asyncio.gather(*waiting, writer.write(event("c"), ""), return_exceptions=True)
    assert [type(each) for each in done] == [asyncio.CancelledError] * 3
