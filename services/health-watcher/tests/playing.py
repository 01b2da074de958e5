"""Scenes on virtual time, with the agent's parts that freeze, ask and tell."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import looptime
import pytest
from reprise.health_watcher import reconciler
from reprise.health_watcher.agent import Agent
from reprise.health_watcher.testing import MemoryNode


def inline_threads(patch: pytest.MonkeyPatch, takes_s: Callable[[], float] | None = None) -> None:
    """What would run in a thread runs in the scene, and takes so long of its time."""

    async def inline(act: Any, *args: Any) -> Any:
        if takes_s:
            await asyncio.sleep(takes_s())
        return act(*args)

    patch.setattr(asyncio, "to_thread", inline)
    patch.setattr(reconciler, "in_thread", inline)


def running_node(folder: Path, patch: pytest.MonkeyPatch) -> MemoryNode:
    """With one protected container, which runs. A freeze takes 0.02 s."""
    inline_threads(patch, lambda: 0.02)
    here = MemoryNode(folder)
    here.pods.add()
    here.start()
    return here


def play(scene: Coroutine[Any, Any, None]) -> None:
    loop = looptime.new_event_loop(noop_cycles=0)  # see virtual.py; but here threads take part
    try:
        loop.run_until_complete(scene)
    finally:
        loop.close()


def parts(agent: Agent) -> tuple[Callable[[], Awaitable[None]], ...]:
    return (
        agent.lease.renew_for_ever, agent.lease.write_for_ever, agent.reconciler.run, agent.fences.run, agent.holds.run,
        agent.resumes.run, agent.containers.run, agent.containers.sweep, agent.containers.watch, agent.starts.run,
    )  # fmt: skip


async def runs(agent: Agent, for_s: float) -> None:
    """For so long; then it is killed."""
    tasks = [asyncio.ensure_future(part()) for part in parts(agent)]
    await asyncio.sleep(for_s)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
