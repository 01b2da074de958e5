"""Python 3.11's wait_for loses a cancellation that comes in the same turn as what it waits for (python/cpython#86296): the task
goes on, and whoever waits for its end waits for ever. nats.py calls it for each request. Importing this puts 3.12's in its place.
"""

import asyncio
import sys
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def wait_for(awaitable: Awaitable[T], timeout: float | None) -> T:
    """As asyncio.wait_for of Python 3.12 and later."""
    if timeout is not None and timeout <= 0:
        future = asyncio.ensure_future(awaitable)
        if not future.done():
            future.cancel()
            await asyncio.wait({future})
        if future.cancelled():
            raise TimeoutError
        return future.result()
    async with asyncio.timeout(timeout):
        return await awaitable


if sys.version_info < (3, 12):
    asyncio.wait_for = wait_for  # type: ignore[assignment, unused-ignore]
