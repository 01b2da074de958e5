"""A task that is cancelled ends, whatever it was given in the same turn of the loop (python311.py)."""

import asyncio

import pytest
from reprise.runtime.python311 import wait_for


async def test_a_cancellation_that_comes_with_the_reply_is_not_lost() -> None:
    replies: list[asyncio.Future[str]] = []

    async def asks_for_ever() -> None:
        while True:
            replies.append(asyncio.get_running_loop().create_future())
            await asyncio.wait_for(replies[-1], 5)

    task = asyncio.create_task(asks_for_ever())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    replies[-1].set_result("just then")
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=1)
    assert done, "it went on"
    assert task.cancelled()


@pytest.mark.parametrize("timeout", [0.0, 0.01])
async def test_what_takes_too_long_is_cancelled(timeout: float) -> None:
    ended: list[str] = []

    async def takes_long() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    task = asyncio.create_task(takes_long())
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        await wait_for(task, timeout)
    assert ended == ["cancelled"]


@pytest.mark.parametrize("timeout", [0.0, 1.0, None])
async def test_what_is_there_is_returned_and_what_failed_is_raised(timeout: float | None) -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    future.set_result("there")
    assert await wait_for(future, timeout) == "there"
    broken: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    broken.set_exception(OSError("broken"))
    with pytest.raises(OSError, match="broken"):
        await wait_for(broken, timeout)
