"""Twenty workloads on a node of two cores, in virtual time: what their checkpoints take, and who waits for how long."""

import asyncio
import contextlib
import itertools
from collections import defaultdict
from pathlib import Path

import pytest
from reprise.checkpointer.adapters.pressure import CpuPressure
from reprise.checkpointer.pace import AT_ONCE, COST, MOST_COUNTED_S, MOST_WAITING, SHARE, Claim
from reprise.checkpointer.turns import GaveWay, Turns
from reprise.runtime.bus import RetryLater

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

CORES, TOOK_S, WORKLOADS, INTERVAL_S = 2, 0.75, 20, 20.0
COST_S = TOOK_S * COST
"""Seconds of one core: 1.5, as seen with containerd."""
RAN_S = 600.0


def now_s() -> float:
    return asyncio.get_running_loop().time()


class Node:
    """Its due checkpoints, as the scheduler and Handlers make them; turns: under test."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.began: defaultdict[str, list[float]] = defaultdict(list)
        self.gave_way = self.under_way = self.most_under_way = self._number = 0

    async def checkpoint(self, name: str, due_s: float = 0.0, *, demanded: bool = False, first: bool = False) -> None:
        self._number += 1
        claim = Claim((name, "c"), f"{self._number:06}", demanded, first, due_s)
        self.turns.announce(claim)
        try:
            async with self.turns.turn(claim):
                self.began[name].append(now_s())
                self.under_way += 1
                self.most_under_way = max(self.most_under_way, self.under_way)
                await asyncio.sleep(TOOK_S)
                self.under_way -= 1
        except GaveWay:
            self.gave_way += 1

    async def workload(self, name: str, offset_s: float, interval_s: float) -> None:
        """One each interval, on a grid of its own."""
        async with asyncio.TaskGroup() as group:
            await asyncio.sleep(offset_s)
            while True:
                last = self.began[name][-1] + TOOK_S if self.began[name] else float("-inf")
                group.create_task(self.checkpoint(name, last + interval_s, first=not self.began[name]))
                await asyncio.sleep(interval_s)


async def run(pressure: float | None, intervals: list[float], cores: int = CORES) -> Node:
    node = Node(Turns(lambda: pressure, cores))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(RAN_S), asyncio.TaskGroup() as group:
            for number, interval_s in enumerate(intervals):
                group.create_task(node.workload(f"w{number}", number / len(intervals) * interval_s, interval_s))
    return node


def load(node: Node, cores: int = CORES) -> float:
    """Of the node's capacity."""
    return sum(map(len, node.began.values())) * COST_S / (RAN_S * cores)


def gaps(node: Node, name: str) -> list[float]:
    times = [*node.began[name], RAN_S]
    return [after - before for before, after in itertools.pairwise(times)]


async def test_twenty_on_a_busy_node_take_no_more_than_its_share_and_each_has_its_turn() -> None:
    node = await run(1.0, [INTERVAL_S] * WORKLOADS)
    round_s = WORKLOADS * COST_S / (SHARE * CORES)
    assert load(node) <= SHARE * 1.01
    assert load(node) >= SHARE * 0.95, "and what is theirs is used"
    assert len(node.began) == WORKLOADS
    assert max(gap for name in node.began for gap in gaps(node, name)) <= INTERVAL_S + round_s
    assert node.gave_way > 0
    assert node.most_under_way == 1


async def test_unbraked_the_same_twenty_take_more_than_the_workloads_can_spare() -> None:
    """As it was before there was a pace: what the test above would find without it."""
    node = await run(0.0, [INTERVAL_S] * WORKLOADS)
    assert load(node) > 2.5 * SHARE
    assert node.gave_way == 0


async def test_a_kernel_that_tells_no_pressure_is_taken_for_busy() -> None:
    assert load(await run(None, [INTERVAL_S] * WORKLOADS)) <= SHARE * 1.01


async def test_on_an_idle_node_one_each_second_keeps_its_interval() -> None:
    node = await run(0.1, [1.0])
    assert len(node.began["w0"]) >= RAN_S - 1
    assert max(gaps(node, "w0")) <= 1.01


async def test_a_short_interval_starves_no_long_one() -> None:
    intervals = [5.0] * 5 + [120.0] * 5
    node = await run(1.0, intervals)
    round_s = len(intervals) * COST_S / (SHARE * CORES)
    assert load(node) <= SHARE * 1.01
    for number, interval_s in enumerate(intervals):
        assert max(gaps(node, f"w{number}")) <= interval_s + round_s


async def test_what_is_demanded_starts_at_once_and_is_made_up_for() -> None:
    node = Node(Turns(lambda: 1.0, CORES))
    await node.checkpoint("w0")
    waiting = [asyncio.create_task(node.checkpoint(f"w{number}")) for number in (1, 2)]
    await asyncio.sleep(0)
    began_s = now_s()
    await node.checkpoint("w9", demanded=True)
    assert node.began["w9"] == [began_s]
    await asyncio.gather(*waiting)
    assert node.began["w1"][0] >= began_s + 2 * TOOK_S * 3, "after the rest of both"


async def test_a_demand_takes_the_place_of_what_its_own_container_waits_with() -> None:
    node = Node(Turns(lambda: 1.0, CORES))
    await node.checkpoint("w0")
    waiting = asyncio.create_task(node.checkpoint("w0"))
    await asyncio.sleep(0)
    await node.checkpoint("w0", demanded=True)
    await waiting
    assert (len(node.began["w0"]), node.gave_way) == (2, 1)


async def test_first_checkpoints_come_before_repeats() -> None:
    node = Node(Turns(lambda: 1.0, CORES))
    await node.checkpoint("w0")
    repeats = [asyncio.create_task(node.checkpoint(f"old{number}", -100.0)) for number in range(3)]
    await asyncio.sleep(0)
    await asyncio.gather(*repeats, node.checkpoint("new", first=True))
    assert node.began["new"] < min(node.began[f"old{number}"] for number in range(3))


async def test_rest_ends_as_soon_as_the_pressure_does() -> None:
    pressure = [1.0]
    node = Node(Turns(lambda: pressure[0], CORES))
    await node.checkpoint("w0")
    ended_s, waiting = now_s(), asyncio.create_task(node.checkpoint("w1"))
    await asyncio.sleep(0.1)
    pressure[0] = 0.0
    await waiting
    assert node.began["w1"][0] - ended_s < 1


async def test_one_that_hangs_keeps_no_other_waiting_for_as_long_as_it_hung() -> None:
    node = Node(Turns(lambda: 1.0, CORES))
    async with node.turns.turn(Claim(("hangs", "c"), "ck1", demanded=False, first=False, due_s=0.0)):
        await asyncio.sleep(120)
    ended_s = now_s()
    await node.checkpoint("w0")
    assert node.began["w0"][0] - ended_s <= 3 * MOST_COUNTED_S + 0.1


async def test_of_too_many_that_wait_the_last_in_order_gives_way_so_that_a_demand_is_delivered() -> None:
    node = Node(Turns(lambda: 1.0, CORES))
    await node.checkpoint("w0")
    waiting = [asyncio.create_task(node.checkpoint(f"w{number}", float(number))) for number in range(1, MOST_WAITING + 2)]
    await asyncio.sleep(0.1)
    assert [task.done() for task in waiting] == [False] * MOST_WAITING + [True]
    for task in waiting:
        task.cancel()


async def test_one_that_is_cancelled_leaves_its_turn_to_the_others() -> None:
    node = Node(Turns(lambda: 1.0, CORES))
    one, other = (asyncio.create_task(node.checkpoint(name)) for name in ("w0", "w1"))
    await asyncio.sleep(0)
    other.cancel()
    await one
    after = asyncio.create_task(node.checkpoint("w2"))
    await asyncio.sleep(0)
    after.cancel()
    await node.checkpoint("w3")
    assert set(node.began) == {"w0", "w3"}


async def test_who_stops_leaves_what_waits_to_the_next() -> None:
    node = Node(Turns(lambda: 1.0, CORES))
    await node.checkpoint("w0")
    waiting = asyncio.create_task(node.checkpoint("w1"))
    await asyncio.sleep(0)
    await node.turns.close()
    with pytest.raises(RetryLater):
        await waiting
    with pytest.raises(RetryLater):
        await node.checkpoint("w2")


async def test_on_a_calm_node_two_are_under_way_at_once() -> None:
    node = Node(Turns(lambda: 0.0, CORES))
    await asyncio.gather(*(node.checkpoint(f"w{number}") for number in range(6)))
    assert node.most_under_way == AT_ONCE


PSI = "some avg10=62.50 avg60=61.45 avg300=68.63 total=1030343724\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"


@pytest.mark.parametrize(
    ("text", "pressure"), [(PSI, 0.625), ("", None), ("some avg10=x\n", None), ("some\n", None), (None, None)]
)
async def test_pressure_is_what_the_kernel_says_of_the_last_ten_seconds(
    tmp_path: Path, text: str | None, pressure: float | None
) -> None:
    if text is not None:
        (tmp_path / "cpu").write_text(text)
    assert CpuPressure(tmp_path / "cpu").read() == pressure
