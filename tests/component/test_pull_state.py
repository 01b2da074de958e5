"""A program's own state, at a real HTTP server that behaves badly: taken only if it is good, handed back until it is taken."""

import asyncio
import hashlib
import tracemalloc
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import zstandard
from aiohttp import web
from reprise.archive.repository import Repository
from reprise.archive.s3 import S3Store
from reprise.archive.testing import FixedKeys
from reprise.checkpointer.adapters.slots import StateSlots
from reprise.checkpointer.decide import Failure, Skip
from reprise.checkpointer.dumping import Dumped
from reprise.checkpointer.states import States
from reprise.contracts.annotations import RESTORE_FROM, Policy
from reprise.contracts.events import CheckpointDue, ContainerRestored, Trigger
from reprise.contracts.model import Target
from reprise.contracts.records import HAND_BACK
from reprise.contracts.state import StateApi
from reprise.health_watcher.agent import Agent
from reprise.health_watcher.testing import WORKLOAD, MemoryNode
from reprise.runtime.kube import ProtectedContainer, ProtectedPod
from reprise.runtime.nodefiles import boottime_s
from reprise.runtime.stateapi import Access
from reprise.transfer.adapters.filling import Filler
from reprise.transfer.adapters.slots import Slots

pytestmark = pytest.mark.component

TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")
HOME = "default/u1/counter"


class App:
    """Hands out what it was given last. answer: what it does instead."""

    def __init__(self) -> None:
        self.state, self.etags, self.type = b'{"count": 7}', False, "application/json"
        self.posted: list[bytes] = []
        self.asked = 0
        self.answer: Callable[[web.Request], Any] | None = None
        self.refuses: set[bytes] = set()
        self.deaf = False
        self.port = 0
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application(client_max_size=1 << 30)
        app.add_routes([web.get("/state", self._get), web.post("/state", self._post), web.get("/elsewhere", self._get)])
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()

    async def _get(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        if self.answer:
            found: web.StreamResponse = await self.answer(request)
            return found
        etag = f'"{hashlib.sha256(self.state).hexdigest()}"'
        if self.etags and request.headers.get("If-None-Match") == etag:
            return web.Response(status=304)
        headers = {"Content-Type": self.type} | ({"ETag": etag} if self.etags else {})
        return web.Response(body=self.state, headers=headers)

    async def _post(self, request: web.Request) -> web.Response:
        body = await request.read()
        if body in self.refuses:
            return web.Response(status=409, text="a state of another version")
        self.posted.append(body)
        if not self.deaf:
            self.state, self.type = body, request.headers["Content-Type"]
        return web.Response(status=204)


@pytest.fixture
async def app() -> AsyncIterator[App]:
    found = App()
    await found.start()
    yield found
    await found.stop()


class Node(MemoryNode):
    """With a checkpointer, an app that is its pod's, and slots as transfer keeps them."""

    def __init__(self, folder: Path, app: App, max_bytes: int = 1 << 20) -> None:
        super().__init__(folder)
        self.app, self.kept, self.timeout_s = app, Slots(folder / "state/slots"), 20.0
        self.api = StateApi(path="/state", port=app.port, max_bytes=max_bytes)
        self.kept.root.mkdir(parents=True)
        self.pods.add()
        self.pods.pods["u1"] = replace(
            self.pods.pods["u1"], ip="127.0.0.1", policy=Policy(mode="http", state=self.api),
            containers=(ProtectedContainer("counter", "counter:1", "c1", running=True),),
        )  # fmt: skip
        parts: Any = (self, StateSlots(folder / "state/slots"), self.files, self)
        self.states = States(*parts)

    async def of(self, api: StateApi, namespace: str, ip: str) -> Access:
        return replace(await super().of(api, namespace, ip), timeout_s=self.timeout_s)

    async def take(self, name: str, *, hold: bool = False, trigger: Trigger = "interval") -> Dumped | Failure | Skip:
        due = CheckpointDue(node="n1", workload=WORKLOAD, checkpoint_id=name, target=TARGET, trigger=trigger,
                            due_at=datetime.now(UTC), interval_s=10, keep=3, hold=hold)  # fmt: skip
        pod: ProtectedPod = self.pods.pods["u1"]
        found = await self.states.take(due, pod, pod.containers[0])
        if isinstance(found, Dumped):
            self.kept.promote(HOME, name)
        return found

    def restarts(self, container_id: str = "c2", uid: str = "u1", attempt: int = 1, ago_s: float = 0.0) -> None:
        """The kubelet, and the engine as its verdict says; or, without one, by itself (engine/internal/create)."""
        at, at_s = datetime.now(UTC) - timedelta(seconds=ago_s), boottime_s() - ago_s
        self.start(container_id, uid, attempt=attempt, reason=HAND_BACK, at=at, at_s=at_s)

    def gate_closed(self, ago_s: float) -> None:
        closed_at = datetime.now(UTC) - timedelta(seconds=ago_s)
        self.pods.pods["u1"] = replace(self.pods.pods["u1"], gated=True, gate_closed_at=closed_at)

    async def until(self, agent: Agent, outcome: str, container_id: str = "c2", within_s: float = 30.0) -> str:
        """Run its agent until it has settled that start; return the reason."""
        agents = (agent.lease.renew_for_ever, agent.lease.write_for_ever, agent.reconciler.run, agent.fences.run,
                  agent.containers.run, agent.containers.sweep, agent.starts.run, agent.handing.run)  # fmt: skip
        tasks = [asyncio.ensure_future(part()) for part in agents]
        try:
            async with asyncio.timeout(within_s):
                while (start := self.files.read_start(container_id)) is None or start.is_open:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert start.outcome == outcome, start
        return start.checkpoint_id if outcome == "restored" else start.reason


@pytest.fixture
def node(tmp_path: Path, app: App) -> Node:
    return Node(tmp_path, app)


# Taken.


async def test_a_state_is_a_slot_with_its_bytes_and_its_type(node: Node, app: App) -> None:
    found = await node.take("ck1")
    assert found == Dumped("", f"{HOME}/ck1", None)
    assert node.kept.path(HOME, "ck1/state").read_bytes() == app.state
    slot = node.agent().slots.of_state("default/u1", "counter", "ck1")
    assert slot
    assert (slot.kind, slot.content_type, slot.api["port"]) == ("http", "application/json", app.port)
    assert oct(node.kept.path(HOME, "ck1").stat().st_mode & 0o777) == "0o700"


async def answers_500(_: web.Request) -> web.Response:
    return web.Response(status=500)


async def never_answers(_: web.Request) -> web.Response:
    await asyncio.sleep(60)
    return web.Response()


async def answers_with_two_gigabytes(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Length": str(2 << 30)})
    await answer.prepare(request)
    return answer


async def streams_two_gigabytes(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    for _ in range(2 << 14):
        await answer.write(bytes(1 << 16))
    return answer


async def is_a_bomb(_: web.Request) -> web.Response:
    """2 GiB of zeros, in a few kilobytes."""
    return web.Response(body=zstandard.ZstdCompressor().compress(bytes(1 << 22)) * 512, headers={"Content-Encoding": "zstd"})


async def sends_us_elsewhere(_: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": "http://192.0.2.1/secrets"})


async def answers_with_nothing(_: web.Request) -> web.Response:
    return web.Response()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(answers_500, "StateStatus"), (never_answers, "StateTimeout"), (answers_with_two_gigabytes, "StateTooLarge"),
     (streams_two_gigabytes, "StateTooLarge"), (is_a_bomb, "StateEncoded"), (sends_us_elsewhere, "StateRedirect"),
     (answers_with_nothing, "StateEmpty")],
)  # fmt: skip
async def test_a_bad_answer_has_its_reason_and_nothing_stored_is_lost(
    node: Node, app: App, answer: Callable[[web.Request], Any], reason: str
) -> None:
    await node.take("ck1")
    app.answer = answer
    node.timeout_s = 1.0 if answer is never_answers else 20.0
    found = await node.take("ck2")
    assert isinstance(found, Failure)
    assert (found.reason, bool(found.remedy)) == (reason, True)
    assert node.kept.live(HOME) == "ck1"
    assert sorted(path.name for path in node.kept.path(HOME).iterdir()) == ["ck1", "live"]
    app.answer = None
    assert isinstance(await node.take("ck3"), Dumped), "it serves on, and its next state is taken"


async def test_of_a_state_that_is_too_large_no_more_is_read_or_kept_than_is_allowed(node: Node, app: App) -> None:
    """Neither in memory nor in the slot: max_bytes here is 1 MiB, and the program would stream 2 GiB."""
    written: list[int] = []

    async def streams(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for _ in range(2 << 14):
            await answer.write(bytes(1 << 16))
            written.append(1 << 16)
        return answer

    app.answer = streams
    tracemalloc.start()
    found = await node.take("ck1")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(found, Failure)
    assert found.reason == "StateTooLarge"
    assert sum(written) < 32 << 20, "the rest is what lies in sockets"
    assert peak < 16 << 20


async def test_a_program_that_does_not_listen_is_a_failure(node: Node, app: App) -> None:
    await app.stop()
    found = await node.take("ck1")
    assert isinstance(found, Failure)
    assert found.reason == "StateUnreachable"


async def test_a_state_that_did_not_change_is_not_taken_again(node: Node, app: App) -> None:
    app.etags = True
    await node.take("ck1")
    found = await node.take("ck2")
    assert isinstance(found, Skip)
    assert (found.reason, node.kept.live(HOME)) == ("Unchanged", "ck1")
    app.state = b"another"
    assert isinstance(await node.take("ck3"), Dumped)


async def test_one_that_somebody_asked_for_is_taken_whether_it_changed_or_not(node: Node, app: App) -> None:
    app.etags = True
    await node.take("ck1")
    assert isinstance(await node.take("ck2", trigger="demand"), Dumped)


async def test_it_is_taken_again_if_the_one_that_has_it_is_gone(node: Node, app: App) -> None:
    app.etags = True
    await node.take("ck1")
    node.kept.withdraw(HOME, "ck1")
    assert isinstance(await node.take("ck2"), Dumped)


async def test_no_state_is_taken_of_a_process_that_was_not_given_its_own_back_yet(node: Node, app: App) -> None:
    await node.take("ck1")
    node.restarts("c1")
    app.state = b"blank"
    found = await node.take("ck2")
    assert isinstance(found, Skip)
    assert (found.reason, node.kept.live(HOME)) == ("HandingBack", "ck1")


async def test_after_a_planned_moves_last_state_its_pod_stands_still(node: Node, app: App) -> None:
    app.etags = True
    node.start("c1")
    await node.take("ck1")
    found = await node.take(
        "ck2", hold=True, trigger="move"
    )  # also of a state that did not change: the move needs it by its name
    assert isinstance(found, Dumped)
    assert (found.held, node.stands("c1")) == (True, True)


# Handed back.


async def test_the_newest_is_posted_back_as_soon_as_the_process_answers(node: Node, app: App) -> None:
    await node.take("ck1")
    app.state = b"newer"
    app.type = "text/x-own; charset=odd"
    await node.take("ck2")
    await app.stop()
    app.state, app.type = b"blank", "text/plain"
    node.restarts()
    agent = node.agent()
    asyncio.get_running_loop().call_later(0.5, lambda: asyncio.ensure_future(app.start()))
    assert await node.until(agent, "restored") == "ck2"
    assert (app.posted, app.type) == ([b"newer"], "text/x-own; charset=odd")
    (event,) = node.announced(ContainerRestored)
    assert (event.kind, event.checkpoint_id, event.frozen) == ("http", "ck2", False)
    assert node.verdict() == "blank"


async def test_if_the_newest_is_refused_the_one_before_is_posted(node: Node, app: App) -> None:
    await node.take("ck1")
    app.state = b"newer"
    await node.take("ck2")
    app.refuses.add(b"newer")
    app.state = b"blank"
    node.restarts()
    assert await node.until(node.agent(), "restored") == "ck1"
    assert app.state == b'{"count": 7}'


async def test_if_both_are_refused_it_is_cold_with_the_reason(node: Node, app: App) -> None:
    await node.take("ck1")
    app.refuses.add(app.state)
    node.restarts()
    reason = await node.until(node.agent(), "cold")
    assert "checkpoint ck1 cannot be restored" in reason
    assert "409: a state of another version" in reason
    assert any(told.startswith("Warning ColdStart") for told in node.told)


async def test_where_it_may_not_start_cold_it_is_ended_instead(node: Node, app: App) -> None:
    await node.take("ck1")
    app.refuses.add(app.state)
    pod = node.pods.pods["u1"]
    node.pods.pods["u1"] = replace(pod, policy=pod.policy.model_copy(update={"on_failure": ("in-place",)}))
    node.restarts()
    assert "checkpoint ck1 cannot be restored" in await node.until(node.agent(), "refused")
    assert "stop c2" in node.told


async def test_a_first_start_has_nothing_to_be_given(node: Node, app: App) -> None:
    node.restarts("c1", attempt=0)
    assert await node.until(node.agent(), "blank", "c1") == "there is no checkpoint"
    assert app.posted == []


async def test_a_process_that_says_that_it_is_not_ready_yet_is_asked_again(node: Node, app: App) -> None:
    await node.take("ck1")
    times = 0

    async def starting(request: web.Request) -> web.Response:
        nonlocal times
        times += 1
        return web.Response(status=503) if times < 4 else await App._post(app, request)

    await app.stop()
    app._post = starting  # type: ignore[method-assign]
    await app.start()
    node.restarts()
    assert await node.until(node.agent(), "restored") == "ck1"
    assert times == 4


async def test_a_post_that_is_accepted_and_changes_nothing_is_told(node: Node, app: App) -> None:
    await node.take("ck1")
    app.state, app.deaf = b"blank", True
    node.restarts()
    await node.until(node.agent(), "restored")
    assert any("StateUnchanged" in told for told in node.told)


async def test_a_post_that_works_is_not_told(node: Node, app: App) -> None:
    await node.take("ck1")
    app.state = b"blank"
    node.restarts()
    await node.until(node.agent(), "restored")
    assert not any("StateUnchanged" in told for told in node.told)


async def test_a_pod_that_a_failover_made_takes_that_checkpoint_and_no_other(node: Node, app: App) -> None:
    """Its workload is not known yet: how it is reached is in the slot."""
    await node.take("ck1")
    app.state = b"newer"
    await node.take("ck2")
    node.pods.add("u2", "counter-fo-1", protected=False, annotations={RESTORE_FROM: "u1/ck1", "reprise.dev/failover": "fo-1"})
    node.pods.everything["u2"] = replace(node.pods.everything["u2"], ip="127.0.0.1")
    node.restarts("c9", "u2", attempt=0)
    assert await node.until(node.agent(), "restored", "c9") == "ck1"
    assert app.posted == [b'{"count": 7}']


async def test_if_that_one_is_refused_the_process_is_ended_and_the_failover_hears_why(node: Node, app: App) -> None:
    await node.take("ck1")
    app.refuses.add(app.state)
    node.pods.add("u2", "counter-fo-1", protected=False, annotations={RESTORE_FROM: "u1/ck1", "reprise.dev/failover": "fo-1"})
    node.pods.everything["u2"] = replace(node.pods.everything["u2"], ip="127.0.0.1")
    node.restarts("c9", "u2", attempt=0)
    assert "checkpoint ck1 cannot be restored" in await node.until(node.agent(), "refused", "c9")
    assert "stop c9" in node.told


async def test_what_was_taken_here_is_stored_and_handed_back_on_another_node(
    node: Node, app: App, s3: S3Store, tmp_path: Path
) -> None:
    await node.take("ck1")
    repository = Repository(s3, FixedKeys())
    manifest = repository.write_archive(
        node.kept.path(HOME, "ck1"), checkpoint_id="ck1", workload=WORKLOAD, target=TARGET, trigger="interval"
    )
    standby = Node(tmp_path / "standby", app)
    standby.pods.remove("u1")
    Filler(standby.kept.path(HOME), repository.open(manifest), None, None).fill()
    standby.kept.promote(HOME, "ck1")
    app.state = b"blank"
    standby.pods.add("u2", "counter-fo-1", protected=False, annotations={RESTORE_FROM: "u1/ck1", "reprise.dev/failover": "fo-1"})
    standby.pods.everything["u2"] = replace(standby.pods.everything["u2"], ip="127.0.0.1")
    standby.restarts("c9", "u2", attempt=0)
    assert await standby.until(standby.agent(), "restored", "c9") == "ck1"
    assert app.state == b'{"count": 7}'


# Started while its node's agent was away: for longer than the engine waits (engine/internal/decide).

AWAY_S = 400.0


async def test_what_nobody_was_sent_to_meanwhile_is_given_its_state(node: Node, app: App) -> None:
    await node.take("ck1")
    app.state = b"blank"
    node.gate_closed(AWAY_S + 1)
    node.restarts("c1", ago_s=AWAY_S)
    assert isinstance(await node.take("ck2"), Skip), "its blank state takes no good one's place meanwhile"
    assert await node.until(node.agent(), "restored", "c1") == "ck1"
    assert app.posted == [b'{"count": 7}']


@pytest.mark.parametrize("closed_ago_s", [None, AWAY_S - 1], ids=["no gate", "the agent closed it when it came back"])
async def test_what_may_have_served_meanwhile_keeps_what_it_has_and_that_is_told(
    node: Node, app: App, closed_ago_s: float | None
) -> None:
    await node.take("ck1")
    app.state = b"blank, and then in use"
    if closed_ago_s:
        node.gate_closed(closed_ago_s)
    node.restarts(ago_s=AWAY_S)
    reason = await node.until(node.agent(), "cold")
    assert "it ran for 400 s while its node's agent was away" in reason
    assert "kubectl reprise restore default/counter --to ck1" in reason
    assert any("ColdStart" in told and "may have served" in told for told in node.told)
    assert (app.posted, app.state) == ([], b"blank, and then in use")
    node.pods.pods["u1"] = replace(node.pods.pods["u1"], containers=(ProtectedContainer("counter", "counter:1", "c2"),))
    assert isinstance(await node.take("ck2"), Dumped), "what it does counts from now on"


async def test_what_did_not_answer_yet_has_not_served_and_is_given_its_state(node: Node, app: App) -> None:
    await node.take("ck1")
    await app.stop()
    node.restarts(ago_s=AWAY_S)
    asyncio.get_running_loop().call_later(1, lambda: asyncio.ensure_future(app.start()))
    assert await node.until(node.agent(), "restored") == "ck1"


async def test_what_never_runs_without_its_state_is_given_it_however_long_it_ran(node: Node, app: App) -> None:
    await node.take("ck1")
    app.state = b"blank"
    pod = node.pods.pods["u1"]
    node.pods.pods["u1"] = replace(pod, policy=pod.policy.model_copy(update={"on_failure": ("in-place",)}))
    node.restarts(ago_s=AWAY_S)
    assert await node.until(node.agent(), "restored") == "ck1"


async def test_one_whose_mode_is_another_by_now_waits_for_no_state(node: Node, app: App) -> None:
    await node.take("ck1")
    node.restarts()
    node.pods.pods["u1"] = replace(node.pods.pods["u1"], policy=Policy(mode="criu"))
    assert await node.until(node.agent(), "cold") == "its mode is not http any more"
    assert app.posted == []
