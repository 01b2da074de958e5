"""Model-based: writers, collectors and pruners, stopped at any call to the store, interleaved, crashed anywhere.

Packs are found damaged, doomed for it and healed meanwhile. Each actor runs in threads of its own over one store; hypothesis
decides who may make the next call. After every step each committed checkpoint must still have all that it refers to, and no
pack that was found damaged before it was begun; the last good one must still be there.
"""

import contextlib
import hashlib
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from reprise.archive.checker import Checker
from reprise.archive.collector import doom, parse
from reprise.archive.intents import read_intents
from reprise.archive.repository import Repository
from reprise.archive.store import Entry
from reprise.archive.testing import FixedKeys, MemoryStore, build, members
from reprise.contracts.errors import CheckpointError, RepriseError
from reprise.contracts.model import Target, Workload

pytestmark = pytest.mark.long

WORKLOAD = Workload(namespace="default", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")


class Crash(BaseException):
    """kill -9, at a call to the store."""


class Actor:
    """One process: it waits at each call to the store until it is let on."""

    def __init__(self, store: MemoryStore, act: Callable[[Repository], object]) -> None:
        self._let_on, self._waiting = threading.Semaphore(0), threading.Semaphore(0)
        self.crashed = self.free = self.done = False
        self.error: BaseException | None = None
        self.at = ""
        self._repository = Repository(Gate(store, self), FixedKeys())  # type: ignore[arg-type]
        self._thread = threading.Thread(target=self._run, args=(act,), daemon=True)
        self._thread.start()
        self._settle()

    def _run(self, act: Callable[[Repository], object]) -> None:
        try:
            act(self._repository)
        except (Crash, RepriseError) as error:
            self.error = error
        except BaseException as error:
            self.error = error if not self.crashed else Crash()
        self.done = True
        self._waiting.release()

    def arrive(self, call: str) -> None:
        """Called by the gate, in whichever thread of the actor makes the call."""
        self.at = call
        if not self.free:
            self._waiting.release()
            self._let_on.acquire()
        if self.crashed:
            raise Crash

    def step(self) -> None:
        self._let_on.release()
        self._settle()

    def end(self, *, crash: bool = False) -> None:
        """Run to the end without stops; or die at the next call."""
        self.crashed, self.free = crash or self.crashed, True
        for _ in range(64):
            self._let_on.release()
        self._thread.join(20)
        assert self.done

    def _settle(self) -> None:
        assert self._waiting.acquire(timeout=20), "an actor hangs"


class Gate:
    """The store as one actor sees it."""

    def __init__(self, store: MemoryStore, actor: Actor) -> None:
        self._store, self._actor = store, actor

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            self._actor.arrive(f"{verb} {args[0].split('/')[0]}")
            found = getattr(self._store, verb)(*args)
            return iter(list(found)) if verb == "list" else found

        return call


class Store(MemoryStore):
    """With a clock that the test moves, and a copy of every pack that was ever sent."""

    def __init__(self) -> None:
        super().__init__()
        self.at = datetime(2026, 11, 24, tzinfo=UTC)
        self.now = lambda: self.at
        self.copies: dict[str, bytes] = {}

    def put(self, key: str, data: bytes | memoryview) -> None:
        super().put(key, data)
        if key.startswith("packs/"):
            self.copies.setdefault(key, bytes(data))

    def read(self, key: str) -> bytes | None:
        """As checker.Copies."""
        return self.copies.get(key)

    def list(self, prefix: str) -> Iterator[Entry]:
        return super().list(prefix)


def archive(labels: tuple[int, ...]) -> bytes:
    """Pages by label. A few per pack, so that packs are shared, partly used, and given up; the rest is each memory's own."""
    own = hashlib.shake_128(bytes(labels)).hexdigest(2000).encode()
    content = members(pages=b"".join(hashlib.shake_128(bytes([label])).digest(4096) for label in labels))
    return build({"dump.log": own} | content | {"dump.log": own, "bind.mounts": own})


POINTS = (
    "put intents", "list doomed", "list packs", "put doomed", "list intents", "list archives", "delete packs", "delete doomed",
    "put packs", "create archives", "delete intents", "delete archives",
)  # fmt: skip
"""The calls between which races lie."""

memories = st.tuples(*(st.integers(1, 9),) * 6)


class Interleaved(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.store, self.actors = Store(), list[Actor]()
        self.folder = Path(tempfile.mkdtemp(prefix="collector"))
        self.broken = dict[str, int]()
        self.number, self.seen, self.retrying = 0, set[str](), list[tuple[str, Path]]()
        self.write_now((1, 2, 3, 4, 5, 6))

    def order(self, memory: tuple[int, ...]) -> tuple[str, Path]:
        self.number += 1
        path = self.folder / f"{self.number:04d}.tar"
        path.write_bytes(archive(memory))
        return f"{self.number:04d}", path

    def start(self, act: Callable[[Repository], object]) -> None:
        self.actors.append(Actor(self.store, act))

    @staticmethod
    def writes(order: tuple[str, Path]) -> Callable[[Repository], object]:
        return lambda repository: repository.write_archive(
            order[1], checkpoint_id=order[0], workload=WORKLOAD, target=TARGET, trigger="demand"
        )

    @rule(memory=memories)
    def write_now(self, memory: tuple[int, ...]) -> None:
        """A whole upload with nobody in between."""
        self.writes(self.order(memory))(Repository(self.store, FixedKeys()))

    @precondition(lambda self: len(self.actors) < 4)
    @rule(memory=memories)
    def start_writer(self, memory: tuple[int, ...]) -> None:
        order = self.order(memory)
        self.retrying.append(order)
        self.start(self.writes(order))

    @precondition(lambda self: self.retrying and len(self.actors) < 4)
    @rule(data=st.data())
    def start_the_same_again(self, data: st.DataObject) -> None:
        """Redelivered: after a crash, or while the first still runs."""
        self.start(self.writes(data.draw(st.sampled_from(self.retrying))))

    @precondition(lambda self: len(self.actors) < 4)
    @rule()
    def start_collector(self) -> None:
        now = self.store.at
        self.start(lambda repository: repository.gc(now=now))

    @precondition(lambda self: len(self.actors) < 4)
    @rule(keep=st.integers(0, 2))
    def start_pruner(self, keep: int) -> None:
        self.start(lambda repository: repository.prune(WORKLOAD, "counter", keep))

    @rule(number=st.integers(0, 9))
    def a_pack_is_found_damaged(self, number: int) -> None:
        repository = Repository(self.store, FixedKeys())
        found = [m.lineage.pack(ref.id) for m in repository.list_manifests(WORKLOAD, "counter") for ref in m.packs]
        key = found[number % len(found)]  # how many there are differs from run to run: two threads fill packs
        body = bytearray(self.store.objects[key])
        body[40] ^= 1
        self.store.objects[key] = bytes(body)
        repository.repair(list(repository.check(read_data=True)))
        if bytes(body) != self.store.copies[key]:  # else the same bit flipped back
            self.broken.setdefault(key, self.number)

    @precondition(lambda self: len(self.actors) < 4)
    @rule(data=st.data())
    def start_healer(self, data: st.DataObject) -> None:
        found = Repository(self.store, FixedKeys()).list_manifests(WORKLOAD, "counter")
        manifest = data.draw(st.sampled_from(found))
        self.start(lambda repository: Checker(repository.store, repository.keyring).heal(manifest, self.store))

    @precondition(lambda self: self.actors)
    @rule(data=st.data(), steps=st.integers(1, 12))
    def go_on(self, data: st.DataObject, steps: int) -> None:
        actor = data.draw(st.sampled_from(self.actors))
        for _ in range(steps):
            if actor.done:
                break
            actor.step()
            self.everything_committed_is_there()
        self.bury(actor)

    @precondition(lambda self: self.actors)
    @rule(data=st.data(), point=st.sampled_from(POINTS))
    def go_on_until(self, data: st.DataObject, point: str) -> None:
        """To just before the actor's next such call."""
        actor = data.draw(st.sampled_from(self.actors))
        for _ in range(80):
            if actor.done:
                break
            actor.step()
            self.everything_committed_is_there()
            if actor.at == point:
                break
        self.bury(actor)

    @precondition(lambda self: self.actors)
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        actor = data.draw(st.sampled_from(self.actors))
        actor.end(crash=True)
        self.bury(actor)

    @precondition(lambda self: self.actors)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        actor = data.draw(st.sampled_from(self.actors))
        actor.end()
        self.bury(actor)

    @rule(hours=st.integers(1, 10))
    def time_passes(self, hours: int) -> None:
        """Uploads become old enough to be given up, while they still run."""
        self.store.at += timedelta(hours=hours)

    def bury(self, actor: Actor) -> None:
        if actor.done:
            assert actor.error is None or isinstance(actor.error, (Crash, RepriseError)), repr(actor.error)
            self.actors.remove(actor)

    @invariant()
    def everything_committed_is_there(self) -> None:
        objects = dict(self.store.objects)
        manifests = [parse(body, key) for key, body in objects.items() if key.endswith("/manifest.json")]
        good = [manifest for manifest in manifests if manifest]
        for manifest in good:
            assert manifest.recipe_key in objects, f"{manifest.checkpoint_id} lost its recipe"
            for ref in manifest.packs:
                key = manifest.lineage.pack(ref.id)
                assert len(objects.get(key, b"")) == ref.size, f"{manifest.checkpoint_id} lost a pack"
                # Ids are given when an upload begins: one that began later looked after the mark was there.
                known = int(manifest.checkpoint_id) <= self.broken.get(key, self.number)
                assert known, f"{manifest.checkpoint_id} uses a pack that was found damaged"
        self.seen.update(manifest.checkpoint_id for manifest in good)
        assert max(self.seen) in {manifest.checkpoint_id for manifest in good}, "the last good one was removed"

    def teardown(self) -> None:
        for actor in self.actors:
            actor.end(crash=actor.done)
        repository = Repository(self.store, FixedKeys())
        self.everything_committed_is_there()
        for key in self.broken.keys() & self.store.objects.keys():
            self.store.objects[key] = self.store.copies[key]
        for manifest in repository.list_manifests(WORKLOAD, "counter"):
            read = b"".join(repository.read_archive(manifest))
            assert read == (self.folder / f"{manifest.checkpoint_id}.tar").read_bytes()
        assert not list(repository.check(read_data=True))
        # In the end all garbage goes: nothing leaks, whoever crashed.
        for _ in range(2):
            repository.gc(now=self.store.at + timedelta(hours=7))
        found = repository.list_manifests(WORKLOAD, "counter")
        named = {ref.id for m in found for ref in m.packs}
        twins = [i for i in read_intents(self.store, found[0].lineage) if i.checkpoint_id in {m.checkpoint_id for m in found}]
        assert {i.writer_id for i in read_intents(self.store, found[0].lineage)} == {i.writer_id for i in twins}
        left = {key.rpartition("/")[2] for key in self.store.objects if key.startswith("packs/")}
        assert {pack for pack in left - named if not any(twin.covers(pack) for twin in twins)} == set()


Interleaved.TestCase.settings = settings(
    max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestInterleaved = Interleaved.TestCase


Act = Callable[[Repository], object]
A, B, C = (1, 2, 3, 4, 5, 6), (11, 12, 13, 14, 15, 16), (21, 22, 23, 24, 25, 26)
LATER = timedelta(hours=7)


class Race:
    """Two checkpoints with nothing in common; then two actors, of which each is stopped once."""

    base: ClassVar[dict[str, dict[str, bytes]]] = {}

    def __init__(self, folder: Path) -> None:
        self.store, self.folder = Store(), folder
        if str(folder) not in self.base:
            for name, memory in (("0001", A), ("0002", B)):
                self.write(name, memory)(Repository(self.store, FixedKeys()))
            self.base[str(folder)] = dict(self.store.objects)
        self.store.objects = dict(self.base[str(folder)])
        self.store.modified = dict.fromkeys(self.store.objects, self.store.at)

    def write(self, name: str, memory: tuple[int, ...]) -> Act:
        path = self.folder / f"{name}.tar"
        path.write_bytes(archive(memory))
        return Interleaved.writes((name, path))

    def run(self, first: Act, steps: int, between: Act, second: Act, more: int) -> bool:
        """first makes `steps` calls; then `between`, whole; then second makes `more`; then first ends, then second.

        False when there were not as many calls to make: then all interleavings have been tried.
        """
        one = Actor(self.store, first)
        for _ in range(steps):
            if one.done:
                break
            one.step()
        tried = one.done
        between(Repository(self.store, FixedKeys()))
        two = Actor(self.store, second)
        for _ in range(more):
            if two.done:
                break
            two.step()
        tried = tried or two.done
        for actor in (one, two):
            actor.end()
            assert isinstance(actor.error, (RepriseError, type(None))), repr(actor.error)
        self.check()
        return not tried

    def check(self) -> None:
        repository = Repository(self.store, FixedKeys())
        found = repository.list_manifests(WORKLOAD, "counter")
        assert found
        for manifest in found:
            assert b"".join(repository.read_archive(manifest)) == (self.folder / f"{manifest.checkpoint_id}.tar").read_bytes()


def every(race: Callable[[int, int], bool], most: int = 60) -> None:
    """All numbers of calls after which the first and the second are stopped."""
    for steps in range(most):
        more = 0
        while race(steps, more):
            more += 1
        if more == 0 and steps > 5:
            return


def prune(repository: Repository) -> object:
    return repository.prune(WORKLOAD, "counter", 1)


def nothing(_: Repository) -> object:
    return None


def collect(race: Race, after: timedelta = timedelta()) -> Act:
    now = race.store.at + after
    return lambda repository: repository.gc(now=now)


def test_a_collector_stopped_anywhere_and_an_upload_that_uses_what_it_collects(tmp_path: Path) -> None:
    """The checkpoint that the upload builds upon is pruned just before; whoever is first, the upload's is readable."""

    def race(steps: int, more: int) -> bool:
        made = Race(tmp_path)
        return made.run(made.write("0003", A), steps, prune, collect(made), more)

    every(race)


def test_an_upload_stopped_anywhere_within_a_collection(tmp_path: Path) -> None:
    def race(steps: int, more: int) -> bool:
        made = Race(tmp_path)
        prune_first = Repository(made.store, FixedKeys())
        made.write("0003", (*A[:3], *B[:3]))(prune_first)
        prune(prune_first)
        return made.run(collect(made), steps, nothing, made.write("0004", A), more)

    every(race)


def test_an_upload_that_is_given_up_while_it_still_runs(tmp_path: Path) -> None:
    """It commits or it does not; it never commits what was collected."""

    def race(steps: int, more: int) -> bool:
        made = Race(tmp_path)
        return made.run(made.write("0003", (*A[:2], 21, 22, 23, 24)), steps, prune, collect(made, LATER), more)

    every(race)


def test_two_collectors_and_an_upload(tmp_path: Path) -> None:
    def race(steps: int, more: int) -> bool:
        made = Race(tmp_path)
        prune(Repository(made.store, FixedKeys()))
        return made.run(collect(made), steps, made.write("0003", A), collect(made), more)

    every(race)


def test_a_heal_of_what_is_pruned_and_collected_meanwhile(tmp_path: Path) -> None:
    """Stopped anywhere, also right before it puts the pack back: an upload that begins then does not miss it afterwards."""

    def race(steps: int, more: int) -> bool:
        made = Race(tmp_path)
        old = Repository(made.store).list_manifests(WORKLOAD, "counter")[-1]
        for ref in old.packs:
            key = old.lineage.pack(ref.id)
            made.store.copies[key] = made.store.objects[key]
            made.store.objects[key] = bytes(ref.size)
            doom(made.store, old.lineage, ref.id)

        def heal(repository: Repository) -> object:
            return Checker(repository.store, repository.keyring).heal(old, made.store)

        def forget(repository: Repository) -> None:
            prune(repository)
            repository.gc()

        return made.run(heal, steps, forget, made.write("0003", A), more)

    every(race)


def test_two_pruners_with_an_upload_between_them_leave_the_newest(tmp_path: Path) -> None:
    def race(steps: int, more: int) -> bool:
        made = Race(tmp_path)
        going = made.run(prune, steps, made.write("0003", A), prune, more)
        assert made.store.objects.get("archives/default/deployment.counter/counter/0003/manifest.json")
        return going

    every(race)


def test_an_upload_whose_twin_committed_and_was_pruned_does_not_come_back(tmp_path: Path) -> None:
    """Redelivered while it slept; when it wakes its packs may be gone, so that it must not commit."""

    def twin(repository: Repository) -> None:
        with contextlib.suppress(CheckpointError):  # the first was not interrupted before its commit
            made.write("0003", C)(repository)
        made.write("0004", B)(repository)
        repository.gc(now=made.store.at + LATER)
        prune(repository)
        repository.gc(now=made.store.at + LATER)
        repository.gc(now=made.store.at + LATER)

    for steps in range(20):
        made = Race(tmp_path)
        made.run(made.write("0003", C), steps, twin, nothing, 0)
