"""Each failover is cut before and after each of its calls and resumed by another replica: the end is the same, and every
event is told once. The cluster, its nodes, the store and NATS are in memory; the buckets' compare-and-set is the real one.
"""

import asyncio
import contextlib
import itertools
import json
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import looptime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from reprise.contracts.errors import RecoveryError
from reprise.contracts.events import FailoverCompleted, FailoverReleased, ImageBuilt
from reprise.contracts.model import ELSEWHERE, Target, checkpoint_id
from reprise.contracts.records import Fence, StartRecord
from reprise.restorer.decide import DELAYS, STEPS_BACK
from reprise.restorer.model import Good, Life, Need, PodView, Prepared, Recovery, Standby
from reprise.restorer.outcomes import NOT_NOW
from reprise.restorer.ports import FAILOVER_ANNOTATION as FAILOVER
from reprise.restorer.ports import shadow_name
from reprise.restorer.room import Timeouts
from reprise.restorer.routes import in_place
from reprise.restorer.starts import Starts
from reprise.restorer.testing import BLANK, OWNER, MemoryCluster, MemoryNodes
from reprise.runtime.kv import Bucket, container_key, key
from reprise.runtime.testing import MemoryBus, recorded_spans
from worlds import (
    AT,
    CASES,
    GOOD,
    LAST,
    N1,
    N2,
    NAMES,
    OLD,
    WORKLOAD,
    End,
    Killed,
    Prepare,
    World,
    end_of,
    hopeless,
    its_pod_would_not_be_accepted,
    no_standby,
)

SLOW = {"move, it_never_serves", "move, hopeless", "move, it_gets_nowhere", "stateful move, it_gets_nowhere",
        "stateful, the_other_node_gets_nothing"}  # fmt: skip
"""A second or more each. The fast loop has the same failures on the other paths, and moves that succeed or end early."""
PAIRS = 100
"""How many pairs of calls one run explores; its seed selects them."""
EACH = [
    pytest.param(*case, id=name, marks=[pytest.mark.long] if name in SLOW else [])
    for name, case in zip(NAMES, CASES, strict=True)
]


@pytest.mark.parametrize(("path", "prepare", "step", "serving"), EACH)
@pytest.mark.looptime
async def test_whoever_is_killed_wherever_the_end_is_the_same(path: str, prepare: Prepare, step: str, serving: list[str]) -> None:
    async def ends(*cuts: int) -> tuple[End, int]:
        world = World(path)
        prepare(world)
        saga = await world.run(cuts)
        return await end_of(world, saga), len(world.calls)

    expected, calls = await ends()
    assert (expected.saga.step, expected.serving) == (step, serving)
    for cut in range(0, calls, 1 + calls // 40):
        end, _ = await ends(cut)
        assert end == expected, f"killed at call {cut}"


@pytest.mark.long
@pytest.mark.parametrize(("path", "prepare"), [case[:2] for case in CASES], ids=NAMES)
@pytest.mark.looptime
async def test_two_kills_change_nothing_either(path: str, prepare: Prepare, explored: random.Random) -> None:
    async def ends(*cuts: int) -> tuple[End, int]:
        world = World(path)
        prepare(world)
        return await end_of(world, await world.run(cuts)), len(world.calls)

    expected, calls = await ends()
    pairs = list(itertools.product(range(calls), repeat=2))
    for cuts in explored.sample(pairs, min(PAIRS, len(pairs))):
        assert (await ends(*cuts))[0] == expected, f"killed at calls {cuts}"


@pytest.mark.looptime
async def test_nothing_that_was_restored_runs_before_the_decision_is_recorded_and_after_that_nothing_is_undone() -> None:
    """I9, at each call: killed there, the record says `release` or later if and only if the restored instance may run."""
    for path in ("shadow", "move"):
        undisturbed = World(path)
        await undisturbed.run()
        for cut in range(len(undisturbed.calls)):
            world = World(path)
            await world.begin()
            world.cut_at = cut
            async with world.runner() as runner:
                with contextlib.suppress(Killed):
                    await runner.run(world.saga())
            entry = await runner.sagas.get(world.saga().failover_id)
            if any(pod.came_of and not pod.view.owner_name for pod in world.cluster.pods.values()):
                assert entry
                assert entry.value.attempt.released
                assert entry.value.step in ("release", "verify", "adopt", "complete")
            if entry and entry.value.attempt.released:
                if "counter-1" in world.cluster.pods:
                    world.cluster.change("counter-1", deleting=True)
                assert (await world.run()).step == "complete", f"{path} was undone after its release, cut {cut}"


@pytest.mark.parametrize("path", ["stateful", "bare move", "move"])
@pytest.mark.looptime
async def test_what_was_begun_is_tried_again_whatever_went_wrong(path: str) -> None:
    """An error that no retry helps is one that somebody has to help with. Given up halfway a pod would be gone for ever."""
    world = World(path)
    plain = world.cluster.opens_gate

    async def forbidden(*_: object) -> bool:
        raise RecoveryError("Forbidden", subject="pod", retryable=False)

    world.cluster.opens_gate = forbidden  # type: ignore[method-assign, assignment]
    with pytest.raises(RecoveryError, match="Forbidden") as caught:
        await world.run()
    assert caught.value.retryable, "its message would be given up"
    world.cluster.opens_gate = plain  # type: ignore[method-assign]
    assert (await world.run()).step == "complete"


@pytest.mark.looptime
async def test_a_shadow_has_its_own_image_and_says_what_it_starts_from() -> None:
    """Of the pod that was checkpointed, which a failover's successor is another one than."""
    world, asked = World("shadow"), []
    world.store.good_ones = tuple(replace(each, pod_uid="u0") for each in GOOD)
    world.cluster.change("counter-1", restored_from="u0")
    plain = world.cluster.create_shadow

    async def create_shadow(*arguments: str, **named: object) -> str:
        asked.append(arguments[2:])
        return await plain(*arguments, **named)  # type: ignore[arg-type]

    world.cluster.create_shadow = create_shadow  # type: ignore[method-assign, assignment]
    await world.run()
    (owner, node, annotations) = asked[0]
    assert (owner, node, annotations["reprise.dev/restore-from"]) == (OWNER, "n2", "u0/ck3")
    assert annotations["reprise.dev/checkpoint-image"] == "localhost:5797/default/deployment-counter/counter:ck3"
    built = world.last("image.built")
    assert isinstance(built, ImageBuilt)
    assert (built.target.pod_uid, built.node, built.role) == ("u0", "n2", "standby")


@pytest.mark.looptime
async def test_the_release_goes_to_the_standbys_agent_and_names_the_restored_instance() -> None:
    world = World("shadow")
    saga = await world.run()
    released = world.last("failover.released")
    assert isinstance(released, FailoverReleased)
    assert (released.node, released.target.node, released.target.pod) == ("n2", "n2", shadow_name(WORKLOAD, saga.name))
    assert released.target.container_id
    assert released.checkpoint_id == "ck3"


@pytest.mark.looptime
async def test_a_release_is_repeated_until_it_runs() -> None:
    world, act = World("shadow"), MemoryNodes.act

    async def hard_of_hearing(nodes: MemoryNodes) -> None:
        told = {name: event for name, event in nodes.server.events.items() if isinstance(event, FailoverReleased)}
        kept = dict(nodes.server.events)
        for name in [name for name in told if not name.startswith("released-1-")]:
            del nodes.server.events[name]  # its agent was being restarted
        await act(nodes)
        nodes.server.events |= {name: event for name, event in kept.items() if name not in nodes.server.events}

    world.nodes.act = lambda: hard_of_hearing(world.nodes)  # type: ignore[method-assign]
    await world.begin()
    async with world.runner() as runner:
        runner._room.timeouts = Timeouts(verify_s=10)
        ended = await runner.run(world.saga())
    assert (ended.step, world.cluster.serving()) == ("complete", ["ck3"])
    assert world.told().count("failover.released") == 2


@pytest.mark.looptime
async def test_a_watch_that_says_nothing_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the API server shows as the pod's container is asked for."""

    async def silent(_: Starts) -> None:
        await asyncio.sleep(3600)

    monkeypatch.setattr(Starts, "run", silent)
    for path in ("in-place", "shadow"):
        world = World(path)
        await world.begin()
        async with world.runner() as runner:
            runner._room.timeouts = Timeouts(verify_s=10)
            assert (await runner.run(world.saga())).step == "complete"


@pytest.mark.looptime
async def test_in_place_what_started_before_the_one_that_is_gone_is_not_taken_for_its_successor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(in_place, "NUDGE_S", 0.02)
    world = World("in-place")
    world.restarts = False
    starts = Bucket(MemoryBus(world.server), "starts", StartRecord)
    await starts.put("c0", StartRecord(container_id="c0", pod_uid="u1", container="counter", outcome="blank"))
    ended = await world.run()
    assert ended.attempt.stop
    assert (ended.attempt.stop.reason, ended.attempt.stop.outcome) == ("NotRestarted", "hand-over")
    assert world.cluster.nudged, "a kubelet that backs off looks again only when its pod changes"


@pytest.mark.looptime
async def test_in_place_needs_no_store() -> None:
    world = World("in-place")

    async def away(*_: object) -> None:
        raise AssertionError("the store was asked")

    world.store.good = world.store.publish = away  # type: ignore[method-assign, assignment]
    assert (await world.run()).step == "complete"
    assert world.last("failover.completed").checkpoint_id == "ck3"  # type: ignore[attr-defined]
    assert not world.cluster.nudged


@pytest.mark.looptime
async def test_what_its_node_rejected_is_not_used_by_the_loss_of_that_node_either() -> None:
    world = World("in-place")
    world.store.poison = frozenset({"ck3"})
    await world.run(rejected=("ck3",))
    assert (await world.recovery()).rejected == ("ck3",)
    world.store.poison, world.cause = frozenset(), "node-loss"
    world.cluster.pods["counter-1"].came_of = ""
    assert (await world.run()).checkpoint_id == "ck2"


@pytest.mark.looptime
async def test_a_standby_that_refuses_is_replaced_at_once_and_no_checkpoint_is_given_up_for_it() -> None:
    world = World("shadow")
    world.cluster.listed = (N1, N2, replace(N2, name="n3", protected_pods=7))
    world.nodes.away = frozenset({"n2"})
    plain = world._on_call

    async def refuses(when: str, what: str) -> None:
        await plain(when, what)
        standbys = Bucket(MemoryBus(world.server), "standby", Standby)
        entry = await standbys.get(key("u1", "counter"))
        if entry and entry.value.node == "n2":
            await standbys.put(entry.key, Standby(refused={"n2": "says DiskFull"}))

    world._on_call = refuses  # type: ignore[method-assign]
    await world.begin()
    async with world.runner() as runner:
        runner._room.timeouts = Timeouts(stage_s=60)
        ended = await runner.run(world.saga())
    assert (ended.step, ended.standby, ended.checkpoint_id, ended.attempt.number) == ("complete", "n3", "ck3", 2)


@pytest.mark.looptime
async def test_a_checkpoint_that_is_found_damaged_while_it_is_staged_is_followed_by_the_one_before_it() -> None:
    world = World("shadow")
    plain = world._on_call

    async def damaged(when: str, what: str) -> None:
        built = [event for event in world.server.events.values() if isinstance(event, ImageBuilt)]
        world.nodes.away = frozenset({"n2"} if not built or built[-1].checkpoint_id == "ck3" else {})
        if built:
            recoveries = Bucket(MemoryBus(world.server), "recoveries", Recovery)
            await recoveries.put(container_key(WORKLOAD, "counter"), Recovery(rejected=("ck3",)))
        await plain(when, what)

    world._on_call = damaged  # type: ignore[method-assign]
    await world.begin()
    async with world.runner() as runner:
        runner._room.timeouts = Timeouts(stage_s=60)
        ended = await runner.run(world.saga())
    assert (ended.step, ended.checkpoint_id) == ("complete", "ck2")


@pytest.mark.looptime
async def test_a_shadow_that_runs_without_its_engines_word_is_undone_and_tried_again_from_the_same_checkpoint() -> None:
    """Its node's agent did not know the pod in time: it was started as if nobody protected it."""
    world, plain = World("shadow"), MemoryCluster.create_shadow
    made: list[str] = []

    async def create_shadow(*arguments: str, **named: object) -> str:
        made.append(arguments[1])
        if len(made) > 1:
            return await plain(world.cluster, *arguments, **named)  # type: ignore[arg-type]
        name = shadow_name(WORKLOAD, arguments[1])
        world.cluster.add(PodView("u2", name, False, "counter:1", "c-unknown", "", ""), "n2", owned=False)
        world.cluster.pods[name].unprotected = True
        return "u2"

    world.cluster.create_shadow = create_shadow  # type: ignore[method-assign, assignment]
    await world.begin()
    async with world.runner() as runner:
        runner._room.timeouts = Timeouts()
        ended = await runner.run(world.saga())
    assert (ended.step, ended.checkpoint_id, ended.attempt.number) == ("complete", "ck3", 2)


@pytest.mark.looptime
async def test_an_owner_that_is_deleted_after_the_release_takes_the_restored_pod_along() -> None:
    world = World("shadow")
    world.cluster.owner_is_there = False
    ended = await world.run()
    assert ended.attempt.stop
    assert (ended.step, ended.attempt.stop.reason) == ("abandoned", "OwnerGone")
    assert world.cluster.serving() == []
    fence = await world.fence()
    assert fence
    assert fence.holder == "restorer", "the old instance is never let run: another one has worked since"


@pytest.mark.looptime
async def test_a_restored_pod_that_somebody_removes_after_its_release_ends_the_old_one_too() -> None:
    world = World("move")
    plain = world._on_call

    async def removed(when: str, what: str) -> None:
        await plain(when, what)
        if (when, what) == ("after", "publish failover.restored"):
            for name in [name for name in world.cluster.pods if name != "counter-1"]:
                del world.cluster.pods[name]

    world._on_call = removed  # type: ignore[method-assign]
    ended = await world.run()
    assert ended.attempt.stop
    assert (ended.step, ended.attempt.stop.reason) == ("abandoned", "ShadowGone")
    assert world.cluster.pods == {}, "its owner makes another one"


@pytest.mark.looptime
async def test_what_no_node_can_take_waits_and_goes_on_when_the_node_is_found_lost_again_and_one_is_able() -> None:
    world = World("shadow")
    no_standby(world)
    assert (await world.run()).step == "wait"
    assert world.last("failover.delayed").reason == "NoStandby"  # type: ignore[attr-defined]
    assert await world.fence() is None, "its node may return meanwhile"
    world.cluster.listed = (N1, N2)
    assert (await world.run()).step == "wait", "the same declaration delivered twice says nothing new"
    ended = await world.run(judged=1)
    assert (ended.step, world.cluster.serving()) == ("complete", ["ck3"])


@pytest.mark.looptime
async def test_the_budget_of_delays_ends() -> None:
    world = World("shadow")
    no_standby(world)
    for number in range(DELAYS + 1):
        ended = await world.run(judged=number)
    assert ended.step == "abandoned"
    assert (world.told().count("failover.delayed"), world.told().count("failover.abandoned")) == (DELAYS, 1)
    assert (await world.run(judged=99)).step == "abandoned", "nothing is new: the budget holds"


@pytest.mark.looptime
async def test_after_a_restore_what_was_newer_is_not_chosen_by_a_failover_and_can_be_asked_for() -> None:
    world = World("restore")
    await world.run()
    noted = await world.recovery()
    assert (noted.rejected, noted.dead) == (("ck3",), ("c1",))
    late = Good("ck4", Need(), container_id="c1", pod_uid="u1")  # its dump of the process that was ended had begun before
    world.store.good_ones = (late, *world.store.good_ones)
    world.cluster.pods["counter-1"].came_of = ""  # its node is lost
    world.cause, world.wanted = "node-loss", ""
    assert (await world.run()).checkpoint_id == "ck2"

    world = World("restore")
    await world.run()
    ended = await world.run(failover_id="rs-back", wanted="ck3")
    assert (ended.step, world.cluster.serving(), (await world.recovery()).rejected) == ("complete", ["ck3"], ())


@pytest.mark.looptime
async def test_a_container_that_was_ended_to_go_back_is_not_failed_over_as_a_crash() -> None:
    world = World("restore")
    await world.run(failover_id="rs-1")
    world.cause, world.wanted = "crash", ""
    ended = await world.run()
    assert ended.attempt.stop
    assert (ended.attempt.stop.reason, ended.attempt.stop.outcome) == ("Replaced", "hand-over")


@pytest.mark.looptime
async def test_a_shadow_that_cannot_even_be_made_leaves_a_moved_process_alone() -> None:
    world = World("move")

    async def forbidden(*_: object, **_named: object) -> str:
        raise RecoveryError("the restored pod could not be created: Forbidden", subject="default/counter")

    world.cluster.create_shadow = forbidden  # type: ignore[method-assign]
    ended = await world.run()
    assert (ended.step, ended.attempt.stop and ended.attempt.stop.outcome) == ("abandoned", "step-aside")
    assert world.cluster.serving() == ["running"]


@pytest.mark.looptime
@pytest.mark.parametrize("path", ["move", "stateful move", "bare move", "shadow", "stateful", "bare"])
async def test_what_the_api_server_would_not_take_is_told_before_anything_is_fenced_or_stands_still(path: str) -> None:
    world = World(path)
    its_pod_would_not_be_accepted(world)
    ended = await world.run()
    assert ended.attempt.stop is None or ended.attempt.stop.reason == "NotAdmitted"
    assert "no such service account" in ended.why
    assert not {"failover.holding", "failover.fenced", "failover.started"} & set(world.told())
    assert await world.fence() is None


async def test_a_moved_process_serves_until_the_pod_that_follows_it_is_about_to_start() -> None:
    world, served = World("move"), []

    async def initializing(_namespace: str, _pod: str) -> Prepared:
        served.append(world.cluster.serving())
        return Prepared(len(served) > 600, detail="its init container migrate runs")  # 30 s

    world.cluster.prepared = initializing  # type: ignore[method-assign]
    ended = await world.run()
    assert ended.step == "complete"
    assert ended.checkpoint_id == world.cluster.pods[ended.attempt.restored.pod].frozen  # type: ignore[union-attr]
    assert served == [["running"]] * 601
    assert world.cluster.serving() == [LAST]


@pytest.mark.looptime
async def test_the_last_checkpoint_is_named_when_it_is_taken_and_the_waiting_pod_told() -> None:
    """Interval checkpoints go on while its init containers run: theirs would be the newer ids."""
    world = World("move")
    meanwhile = checkpoint_id("u1", "counter", AT + timedelta(seconds=20))
    world.store.good_ones = (Good(LAST, Need(), container_id="c0", pod_uid="u1"),)

    async def prepared(_namespace: str, _pod: str) -> Prepared:
        world.store.good_ones = (Good(meanwhile, Need(), container_id="c1", pod_uid="u1"), *world.store.good_ones)
        return Prepared(True)

    world.cluster.prepared = prepared  # type: ignore[method-assign]
    ended = await world.run()
    assert (ended.step, ended.checkpoint_id > meanwhile) == ("complete", True)
    assert world.cluster.serving() == [ended.checkpoint_id]


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        (Prepared(False, "OutOfcpu: Node didn't have enough resource: cpu"), "NotTaken"),
        (Prepared(False, "somebody removed it"), "NotTaken"),
        (Prepared(False, detail="its init container migrate waits: CrashLoopBackOff: back-off 5m0s"), "NotPrepared"),
    ],
)
async def test_a_pod_that_never_gets_as_far_as_to_start_holds_nothing(pod: Prepared, reason: str) -> None:
    world = World("move")

    async def prepared(_namespace: str, _pod: str) -> Prepared:
        return pod

    world.cluster.prepared = prepared  # type: ignore[method-assign]
    ended = await world.run()
    assert ended.attempt.stop
    assert (ended.step, ended.attempt.stop.reason, ended.attempt.stop.outcome) == ("abandoned", reason, "step-aside")
    assert (pod.rejected or pod.detail) in ended.why
    assert "failover.holding" not in world.told()
    assert world.cluster.serving() == ["running"]
    assert set(world.cluster.pods) == {"counter-1"}


async def node_claims(world: World) -> int:
    """A node that came back writes the fence before it thaws."""
    fences = Bucket(MemoryBus(world.server), "fences", Fence)
    return await fences.put("u1", Fence(pod_uid="u1", holder="node"))


@pytest.mark.looptime
async def test_a_node_that_returned_while_no_node_could_take_it_runs_on() -> None:
    world = World("shadow")
    no_standby(world)
    await world.run()
    await node_claims(world)
    world.cluster.run("counter-1", "running")
    world.cluster.listed = (N1, N2)
    ended = await world.run(judged=1)  # the arbiter's judgement is of before
    assert (ended.step, ended.attempt.stop and ended.attempt.stop.reason) == ("abandoned", "NodeReturned")
    assert len(world.cluster.pods) == 1


@pytest.mark.looptime
async def test_a_declaration_that_is_late_never_joins_an_instance_that_runs_again() -> None:
    world = World("shadow")
    await node_claims(world)
    world.cluster.run("counter-1", "running")
    ended = await world.run()
    assert (ended.step, ended.attempt.stop and ended.attempt.stop.outcome) == ("abandoned", "step-aside")
    assert len(world.cluster.pods) == 1


@pytest.mark.looptime
async def test_a_node_that_returned_and_is_lost_again_is_failed_over_under_another_name() -> None:
    world = World("shadow")
    claimed = await node_claims(world)
    assert (await world.run()).step == "abandoned"
    ended = await world.run(fence_revision=claimed, judged=1)
    assert (ended.step, ended.attempt.number) == ("complete", 2)
    assert world.cluster.serving() == ["ck3"]


@pytest.mark.looptime
async def test_the_fence_stays_while_older_checkpoints_are_tried_and_goes_with_the_last() -> None:
    world = World("shadow")
    hopeless(world)
    held, names = [], set()
    plain = world._on_call

    async def look(when: str, what: str) -> None:
        await plain(when, what)
        if (when, what) == ("after", "create shadow"):
            fence = await world.fence()
            held.append(fence.holder if fence else "")
            names.update(world.cluster.pods.keys() - {"counter-1"})

    world._on_call = look  # type: ignore[method-assign]
    await world.run()
    assert held == ["restorer"] * (STEPS_BACK + 1)
    fence = await world.fence()
    assert fence
    assert fence.holder == "nobody"
    assert len(names) == STEPS_BACK + 1, "no two attempts share a pod's name"


def changed_at(world: World, moment: int, change: dict[str, object]) -> None:
    """Somebody changes the old pod at this call of the failover, if it is still there."""

    async def interfere(_when: str, what: str) -> None:
        if len(world.calls) == moment and "counter-1" in world.cluster.pods:
            world.cluster.change("counter-1", **change)
        world.calls.append(what)
        await world.nodes.act()

    world._on_call = interfere  # type: ignore[method-assign, assignment]


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"deleting": True}, "PodDeleting"), ({"wanted": 0}, "ScaledToZero"), ({"outdated": True}, "RolledOut"),
     ({"deleting": True, "evicted": "DeletionByTaintManager"}, "Evicted"), ({"uid": "u2"}, "PodGone")],
)  # fmt: skip
@pytest.mark.looptime
async def test_a_users_will_wins_whenever_it_comes_until_the_restored_one_may_run(change: dict[str, object], reason: str) -> None:
    """At each call in turn: then nothing that was restored is left; or it had been released, and its owner has it."""
    undisturbed = World("shadow")
    await undisturbed.run()
    for moment in range(len(undisturbed.calls)):
        world = World("shadow")

        changed_at(world, moment, change)
        saga = await world.run()
        if saga.step == "complete":
            assert saga.attempt.released
            continue
        assert saga.attempt.stop
        assert (saga.attempt.stop.reason, saga.attempt.stop.harmless) == (reason, True)
        fence = await world.fence()
        assert fence is None or fence.holder == "nobody"
        assert set(world.cluster.pods) == {"counter-1"}, f"a shadow is left, moment {moment}"


@pytest.mark.parametrize("path", ["shadow", "in-place"])
@pytest.mark.looptime
async def test_an_autoscaler_that_wants_more_of_it_changes_nothing_whenever_it_comes(path: str) -> None:
    undisturbed = World(path)
    await undisturbed.run()
    for moment in range(len(undisturbed.calls)):
        world = World(path)

        changed_at(world, moment, {"wanted": 2})
        assert (await world.run()).step == "complete", f"moment {moment}"
        assert world.cluster.serving() == undisturbed.cluster.serving()


@pytest.mark.looptime
async def test_a_move_is_of_whatever_instance_runs_by_then_and_its_node_is_the_standby() -> None:
    world = World("move")
    world.cluster.change("counter-1", container_id="c9")  # it was restored since it was asked for
    standbys = Bucket(MemoryBus(world.server), "standby", Standby)
    await standbys.put(key("u1", "counter"), Standby(node="n7"))
    ended = await world.run()
    assert (ended.step, ended.target.container_id, world.cluster.serving()) == ("complete", "c9", [LAST])
    named = await standbys.get(key("u1", "counter"))
    assert named
    assert named.value.node == "n2", "what another node stages counts for nothing"


@pytest.mark.looptime
async def test_a_crash_hands_over_to_the_failover_of_its_lost_node() -> None:
    world = World("in-place")
    world.restarts = False
    fences = Bucket(MemoryBus(world.server), "fences", Fence)
    await fences.put("u1", Fence(pod_uid="u1", holder="restorer", failover_id="fo-node"))
    saga = await world.run()
    assert saga.attempt.stop
    assert (saga.attempt.stop.reason, saga.attempt.stop.outcome) == ("OtherFailover", "hand-over")
    assert world.cluster.history == [], "nothing was restored twice"


@pytest.mark.long
@settings(max_examples=30, deadline=None)
@given(st.data())
def test_two_replicas_at_once_end_as_one(data: st.DataObject) -> None:
    """A message is delivered to a second replica while the first still works on it; their calls interleave in any order."""

    async def both(path: str) -> None:
        world = World(path)

        async def slow(when: str, what: str) -> None:
            await asyncio.sleep(data.draw(st.sampled_from([0.0, 0.001, 0.02])))
            await world.nodes.act()

        world._on_call = slow  # type: ignore[method-assign]
        await world.begin()
        await asyncio.gather(world.run(), world.run(), return_exceptions=True)
        saga = await world.run()
        assert saga.step == "complete"
        assert world.cluster.serving() == ["ck3"]
        assert len(world.told()) == len(set(world.server.events))

    path = data.draw(st.sampled_from(["in-place", "shadow"]))
    loop = looptime.new_event_loop()
    try:
        loop.run_until_complete(both(path))
    finally:
        loop.close()


def at_call(world: World, moment: int, act: Callable[[], None]) -> None:
    """Something happens at this call of the failover."""

    async def interfere(_when: str, what: str) -> None:
        if len(world.calls) == moment:
            act()
        world.calls.append(what)
        await world.nodes.act()

    world._on_call = interfere  # type: ignore[method-assign, assignment]


@pytest.mark.parametrize("path", ["stateful", "stateful move"])
@pytest.mark.looptime
async def test_same_name_a_users_deletion_wins_until_the_pod_is_deleted_for_good(path: str) -> None:
    """At each call in turn: then the old pod is left as it was, on no node's list; or the next one has its memory already."""
    undisturbed = World(path)
    await undisturbed.run()
    for moment in range(0, len(undisturbed.calls), 2):
        world = World(path)

        def deleted_by_its_user(world: World = world) -> None:
            pod = world.cluster.pods.get("counter-1")
            if pod and pod.view.uid == "u1":
                world.cluster.change("counter-1", deleting=True)

        at_call(world, moment, deleted_by_its_user)
        end = await end_of(world, await world.run())
        if end.saga.attempt.released:
            assert (end.saga.step, world.cluster.deleted) == ("complete", ["u1 on n1"]), f"moment {moment}"
            continue
        assert end.saga.attempt.stop
        assert (end.saga.attempt.stop.reason, world.cluster.deleted) == ("PodDeleting", []), f"moment {moment}"
        assert end.fence is None or end.fence.holder == "nobody"
        assert end.resumes == [], "a node would keep the next pod of that name waiting"


@pytest.mark.looptime
async def test_same_name_a_next_pod_that_its_user_deletes_is_not_brought_back() -> None:
    undisturbed = World("stateful")
    await undisturbed.run()
    ends = set()
    for moment in range(0, len(undisturbed.calls), 2):
        world = World("stateful")

        def deleted_by_its_user(world: World = world) -> None:
            pod = world.cluster.pods.get("counter-1")
            if pod and pod.view.uid != "u1":
                del world.cluster.pods["counter-1"]

        at_call(world, moment, deleted_by_its_user)
        end = await end_of(world, await world.run())
        ends.add(end.saga.step)
        assert end.resumes == [], f"moment {moment}"
        assert end.fence is None or end.fence.holder == "restorer", "the old one never runs again"
        if end.saga.step == "abandoned":
            assert end.saga.attempt.stop
            assert end.saga.attempt.stop.reason == "PodGone"
    assert ends == {"complete", "abandoned"}


@pytest.mark.looptime
async def test_same_name_a_next_pod_that_runs_already_is_left_alone_wherever_it_is() -> None:
    """No replica was there for longer than its node waits (ResumeRecord.wait_s): its work counts, and the old memory does not."""
    world = World("stateful move")
    world.cluster.scheduled = ["n1"]
    plain = world.cluster._next

    async def waited_long_enough(before: PodView, node: str, annotations: dict[str, str]) -> None:
        await plain(before, node, annotations)
        if world.cluster.pods["counter-1"].unmarked:
            world.cluster.slots["n1"] = []  # of the new pod's own
            await world.cluster.start("counter-1", "counter")
            await asyncio.sleep(0.01)

    world.cluster._next = waited_long_enough  # type: ignore[method-assign]
    end = await end_of(world, await world.run())
    assert end.saga.attempt.stop
    assert (end.saga.step, end.saga.attempt.stop.reason, end.serving, end.resumes) == ("abandoned", "NoCheckpoint", [BLANK], [])
    assert world.cluster.deleted == ["u1 on n1"]


@pytest.mark.looptime
@pytest.mark.parametrize("path", ["bare", "bare move"])
async def test_same_name_a_bare_pod_that_its_user_makes_meanwhile_is_theirs_and_gets_no_memory(path: str) -> None:
    """It has the name, and another environment: what was checkpointed is of the pod before it."""
    world = World(path)
    plain = world.cluster.recreate

    async def user_is_faster(namespace: str, body: str, node: str) -> None:
        if "counter-1" not in world.cluster.pods:
            other = replace(OLD, uid="u9", owner_kind="", owner_name="", node="n2", container_id="")
            world.cluster.add(other, "n2").unmarked = True
        await plain(namespace, body, node)

    world.cluster.recreate = user_is_faster  # type: ignore[method-assign]
    end = await end_of(world, await world.run())
    assert end.saga.attempt.stop
    assert (end.saga.step, end.saga.attempt.stop.reason, end.resumes) == ("abandoned", "Replaced", [])
    theirs = world.cluster.pods["counter-1"]
    assert (theirs.view.uid, theirs.pinned, theirs.came_of) == ("u9", "", "")


@pytest.mark.looptime
@pytest.mark.parametrize("path", ["stateful", "stateful move", "bare move"])
async def test_same_name_what_started_cold_is_not_restored_from_before_that_ever_again(path: str) -> None:
    """Its next restart would go back behind the work that it has done since (I7)."""
    world = World(path)
    hopeless(world)
    ended = await world.run()
    assert (ended.step, world.cluster.serving()) == ("abandoned", [BLANK])
    assert world.cluster.pods["counter-1"].pinned == "", "its annotation is gone"


@pytest.mark.looptime
@pytest.mark.parametrize(("path", "lost"), [("stateful move", True), ("stateful", False)])
async def test_same_name_a_move_that_steps_back_says_what_is_lost(path: str, lost: bool) -> None:
    """After the loss of a node what came since the checkpoint is lost whatever it is: nobody promised it."""
    world = World(path)
    world.store.poison = frozenset({LAST if lost else "ck3"})
    ended = await world.run()
    completed = world.last("failover.completed")
    assert isinstance(completed, FailoverCompleted)
    assert ended.step == "complete"
    assert completed.lost_work.startswith(f"{LAST} did not come back on n2: ") if lost else completed.lost_work == ""


@pytest.mark.looptime
async def test_same_name_a_next_pod_that_nobody_noticed_in_time_is_told_of_at_once() -> None:
    """Its node's agent did not know it when it started: no engine will ever tell of it."""
    world = World("stateful move")
    world.cluster.scheduled = ["n2"]

    async def unnoticed(before: PodView, node: str, _annotations: dict[str, str]) -> None:
        world.cluster.add(replace(before, uid="next-1", container_id="c-unknown", node=node), node).unprotected = True

    world.cluster._next = unnoticed  # type: ignore[method-assign, assignment]
    world.nodes.away = frozenset()
    began = asyncio.get_running_loop().time()
    await world.begin()
    async with world.runner() as runner:
        runner._room.timeouts = Timeouts()
        ended = await runner.run(world.saga())
    assert ended.attempt.stop
    assert (ended.step, ended.attempt.stop.reason, ended.attempt.stop.outcome) == ("abandoned", "NotDecided", "cold")
    assert asyncio.get_running_loop().time() - began < 10


@pytest.mark.looptime
@pytest.mark.parametrize("path", ["shadow", "stateful", "bare"])
async def test_init_containers_take_their_time_on_the_other_node(path: str) -> None:
    world = World(path)
    slow_start, plain_life = world.cluster.start, world.cluster.life
    ready_at = float("inf")

    async def start(name: str, container: str, *, pinned: str = "") -> None:
        nonlocal ready_at
        ready_at = asyncio.get_running_loop().time() + 300

        async def later() -> None:
            await asyncio.sleep(300)
            await slow_start(name, container, pinned=pinned)

        world.init = asyncio.create_task(later())  # type: ignore[attr-defined]

    async def life(namespace: str, pod: str, target: Target, replaced: tuple[str, ...]) -> Life:
        if asyncio.get_running_loop().time() < ready_at:
            return Life(False, False, "its init containers have not ended", preparing=True)
        return await plain_life(namespace, pod, target, replaced)

    world.cluster.start, world.cluster.life = start, life  # type: ignore[method-assign]
    await world.begin()
    async with world.runner() as runner:
        runner._room.timeouts = Timeouts()
        ended = await runner.run(world.saga())
    assert (ended.step, ended.attempt.number, world.cluster.serving()) == ("complete", 1, ["ck3"])


@pytest.mark.parametrize("faster", [True, False])
@pytest.mark.looptime
async def test_same_name_what_its_controller_made_is_given_the_labels_of_the_pod_before(faster: bool) -> None:
    """The controller knows its template only, not what somebody set at run time. What the saga made has them from its birth."""
    world = World("stateful move")
    world.cluster.scheduled = ["n2"] if faster else []
    ended = await world.run()
    assert (ended.step, world.cluster.carried) == ("complete", ["next-1"] if faster else [])


@pytest.mark.parametrize(("revision", "step", "serving"), [("r2", "abandoned", []), ("r1", "complete", ["ck3"])])
@pytest.mark.looptime
async def test_same_name_a_rollout_of_its_statefulset_wins(revision: str, step: str, serving: list[str]) -> None:
    """Its controller is faster, and has another template by now: the old memory would be that of the old one."""
    world = World("stateful")
    world.cluster.change("counter-1", revision="r1")
    world.cluster.scheduled = ["n2"]
    plain = world.cluster._next

    async def of_its_template(before: PodView, node: str, annotations: dict[str, str]) -> None:
        await plain(before if annotations else replace(before, revision=revision), node, annotations)

    world.cluster._next = of_its_template  # type: ignore[method-assign]
    end = await end_of(world, await world.run())
    assert (end.saga.step, end.serving, end.resumes) == (step, serving, [])
    stop = end.saga.attempt.stop
    assert (stop.reason if stop else "") == ("RolledOut" if step == "abandoned" else "")


@pytest.mark.looptime
async def test_same_name_an_owner_that_goes_meanwhile_wins() -> None:
    world = World("stateful")
    plain = world._on_call

    async def goes(when: str, what: str) -> None:
        await plain(when, what)
        if (when, what) == ("after", "delete for good"):
            world.cluster.owner_is_there = False

    world._on_call = goes  # type: ignore[method-assign]
    end = await end_of(world, await world.run())
    assert end.saga.attempt.stop
    assert (end.saga.step, end.saga.attempt.stop.reason, end.resumes) == ("abandoned", "ScaledToZero", [])


@pytest.mark.looptime
async def test_same_name_what_its_node_does_not_take_is_made_anew_where_the_scheduler_puts_it() -> None:
    world = World("bare")
    plain, made = world.cluster._next, []

    async def refused_once(before: PodView, node: str, annotations: dict[str, str]) -> None:
        made.append(node)
        if len(made) == 1:
            refused = replace(
                before, uid="failed", container_id="", node=node, evicted="OutOfcpu", failover=annotations[FAILOVER]
            )
            world.cluster.add(refused, node).unmarked = True
            return
        await plain(before, node, annotations)

    world.cluster._next = refused_once  # type: ignore[method-assign]
    ended = await world.run()
    assert (ended.step, world.cluster.serving()) == ("complete", ["ck3"])
    assert world.cluster.deleted == ["u1 on n1", "failed on n2"]


@pytest.mark.looptime
async def test_same_name_a_bare_pod_that_was_deleted_is_made_however_long_nobody_accepts_it() -> None:
    """Its quota was taken by another, say: nobody else makes it."""
    world = World("bare")
    plain, takes = world.cluster.recreate, False

    async def recreate(namespace: str, body: str, node: str) -> None:
        if not takes:
            raise RecoveryError("exceeded quota", subject="pod default/counter-1", retryable=False)
        await plain(namespace, body, node)

    world.cluster.recreate = recreate  # type: ignore[method-assign]
    for _ in range(2):
        with pytest.raises(RecoveryError, match="trying again"):
            await world.run()
    assert (world.cluster.pods, world.cluster.deleted) == ({}, ["u1 on n1"])
    takes = True
    end = await end_of(world, await world.run())
    assert (end.saga.step, end.serving, end.resumes) == ("complete", ["ck3"], [])


@pytest.mark.looptime
async def test_same_name_one_that_a_finalizer_keeps_is_waited_for() -> None:
    world = World("stateful")
    plain, kept = world.cluster.end_for_good, True

    async def end_for_good(target: Target, namespace: str) -> None:
        if kept:
            world.cluster.change("counter-1", deleting=True)
        else:
            await plain(target, namespace)

    world.cluster.end_for_good = end_for_good  # type: ignore[method-assign]
    with pytest.raises(RecoveryError, match="finalizer"):
        await world.run()
    kept = False
    assert (await world.run()).step == "complete"


@pytest.mark.looptime
async def test_same_name_the_next_pod_is_made_on_the_planned_node_and_says_what_it_starts_from() -> None:
    world, made = World("stateful"), []
    plain = world.cluster.recreate

    async def recreate(namespace: str, body: str, node: str) -> None:
        made.append((json.loads(body)["annotations"], node))
        await plain(namespace, body, node)

    world.cluster.recreate = recreate  # type: ignore[method-assign]
    saga = await world.run()
    (annotations, node) = made[0]
    assert node == "n2"
    assert annotations == {
        "reprise.dev/restore-from": "u1/ck3", "reprise.dev/failover": saga.name,
        "reprise.dev/checkpoint-image": "localhost:5797/default/deployment-counter/counter:ck3",
    }  # fmt: skip
    assert world.last("failover.completed").path == "recreate"  # type: ignore[attr-defined]


@pytest.mark.looptime
async def test_a_scale_down_while_it_stands_still_wins_and_the_move_lets_go_of_it() -> None:
    world = World("move")
    plain = world._on_call

    async def scaled(when: str, what: str) -> None:
        await plain(when, what)
        if (when, what) == ("after", "publish failover.fenced"):
            world.cluster.change("counter-1", wanted=0)

    world._on_call = scaled  # type: ignore[method-assign]
    ended = await world.run()
    assert (ended.step, ended.attempt.stop and ended.attempt.stop.reason) == ("abandoned", "ScaledToZero")
    assert set(world.cluster.pods) == {"counter-1"}
    fence = await world.fence()
    assert fence
    assert fence.holder == "nobody"


@pytest.mark.looptime
@pytest.mark.parametrize("step", ["image", "place", "verify"])
async def test_a_record_of_an_older_version_is_undone_and_says_so(step: str) -> None:
    world = World("shadow")
    declared = world.saga()
    old = json.loads(declared.model_dump_json(exclude={"attempt"})) | {
        "step": step, "attempt": 1, "path": "shadow", "checkpoint_id": "ck3", "standby": "n2", "tried": [],
        "live_id": "fo-1", "recovery": {"strikes": 0}, "stop": None,
    }  # fmt: skip
    await Bucket(MemoryBus(world.server), "fences", Fence).put("u1", Fence(pod_uid="u1", holder="restorer",
                                                                          failover_id=declared.failover_id))  # fmt: skip
    shadow = shadow_name(WORKLOAD, declared.failover_id)
    world.cluster.add(PodView("u2", shadow, False, "counter:1", "", "", ""), "n2", owned=False)
    kv = await MemoryBus(world.server).jetstream.key_value("failovers")
    await kv.put(declared.failover_id, json.dumps(old).encode())
    ended = await world.run()
    assert ended.attempt.stop
    assert (ended.step, ended.attempt.stop.reason) == ("abandoned", "OtherVersion")
    assert set(world.cluster.pods) == {"counter-1"}
    fence = await world.fence()
    assert fence
    assert fence.holder == "nobody"


@pytest.mark.parametrize(("path", "cause", "told"), [("in-place", "crash", "in-place"), ("shadow", "node-loss", "shadow")])
@pytest.mark.looptime
async def test_a_failover_that_ended_is_counted_once_however_often_it_is_declared(path: str, cause: str, told: str) -> None:
    def counted() -> float:
        return REGISTRY.get_sample_value("reprise_failovers_total", {"cause": cause, "outcome": "restored"}) or 0.0

    before, world = counted(), World(path)
    assert (await world.run()).step == "complete"
    assert (await world.run()).step == "complete"
    assert counted() == before + 1
    took = REGISTRY.get_sample_value("reprise_failover_seconds_count", {"cause": cause, "path": told})
    assert took


@pytest.mark.looptime
async def test_each_step_is_a_span_and_from_the_plan_on_it_leads_to_the_checkpoint_that_is_restored() -> None:
    made_in = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    world = World("shadow")
    world.store.good_ones = (replace(GOOD[0], traceparent=made_in), *GOOD[1:])
    with recorded_spans() as spans:
        assert (await world.run()).step == "complete"
        steps = [each for each in spans.all() if each.name.startswith("saga.")]
    names = ("plan", "fence", "stage", "place", "restored", "release", "verify", "adopt")
    assert [each.name for each in steps] == [f"saga.{step}" for step in names]
    for step in steps:
        (leads,) = step.links
        assert f"{leads.context.trace_id:032x}" == made_in.split("-")[1]
    placed = dict(steps[3].attributes or {})
    assert placed["reprise.checkpoint.id"] == "ck3"
    assert placed["reprise.failover.path"] == "shadow"
    assert placed["k8s.deployment.name"] == "counter"


@pytest.mark.looptime
async def test_what_could_not_go_elsewhere_says_why_and_is_restored_in_place_and_not_tried_again() -> None:
    world = World("elsewhere")
    no_standby(world)
    saga = await world.run()
    assert (saga.step, saga.elsewhere, saga.plan.route) == ("complete", False, "in-place")
    started = world.last("failover.started")
    assert started.why.startswith("not moved: no node can take it")  # type: ignore[attr-defined]
    assert saga.attempt.failed
    assert saga.attempt.failed.reason == "NoStandby"
    assert world.told().count("failover.started") == world.told().count("failover.completed") == 1


@pytest.mark.looptime
async def test_what_its_node_has_started_meanwhile_is_not_moved() -> None:
    """The declaration names a revision of the fence at which nothing ran there."""
    world = World("elsewhere")
    await Bucket(MemoryBus(world.server), "fences", Fence).put("u1", Fence(pod_uid="u1", holder="node"))
    saga = await world.run()
    assert (saga.step, saga.plan.route) == ("complete", "in-place")
    assert saga.attempt.failed
    assert saga.attempt.failed.reason == "NodeReturned"


@pytest.mark.looptime
async def test_without_an_older_checkpoint_it_goes_with_the_one_that_did_not_live_here() -> None:
    world = World("elsewhere")
    world.store.good_ones = GOOD[:1]
    saga = await world.run()
    assert (saga.step, world.cluster.serving()) == ("complete", ["ck3"])


@pytest.mark.looptime
async def test_the_name_of_the_pod_that_was_moved_tells_its_node_that_it_was() -> None:
    world = World("elsewhere")
    saga = await world.run()
    assert saga.name.startswith(ELSEWHERE)
    assert saga.attempt.restored
    assert saga.attempt.restored.pod == shadow_name(WORKLOAD, saga.name)


@pytest.mark.parametrize("why", NOT_NOW)
@pytest.mark.looptime
async def test_a_node_that_refuses_for_what_passes_is_waited_for(why: str) -> None:
    """Twenty failovers at once can delay the agent's lease renewal. The kubelet tries again."""
    world, tries = World("shadow"), list[str]()
    plain = world.cluster.start

    async def not_at_first(name: str, container: str, *, pinned: str = "") -> None:
        tries.append(name)
        if len(tries) > 1:
            await plain(name, container, pinned=pinned)
            return
        uid, told = world.cluster.pods[name].view.uid, f"{why}: it may run elsewhere"
        record = StartRecord(container_id="first", pod_uid=uid, container=container, outcome="refused", reason=told)
        await Starts(MemoryBus(world.server)).bucket.put(record.container_id, record)
        asyncio.get_running_loop().call_later(0.02, lambda: asyncio.ensure_future(not_at_first(name, container, pinned=pinned)))

    world.cluster.start = not_at_first  # type: ignore[method-assign]
    saga = await world.run()
    assert (saga.step, world.cluster.serving(), len(tries)) == ("complete", ["ck3"], 2)


def test_what_passes_is_what_the_engine_says() -> None:
    source = (Path(__file__).parents[3] / "engine/internal/decide/decide.go").read_text()
    assert all(f'"{why}' in source for why in NOT_NOW)
