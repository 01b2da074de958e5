"""Model-based: writers, collectors, pruners and publishers, stopped at any call to the store, interleaved, crashed anywhere.

Each actor runs in threads of its own over one store; hypothesis decides who may make the next call. After every step each
committed checkpoint must still have all that it refers to, the last good one must still be there, and so must what a live
reference shows.
"""

import hashlib
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from reprise.archive.collector import parse
from reprise.archive.repository import Repository
from reprise.archive.store import Entry
from reprise.archive.testing import FixedKeys, MemoryStore, build, members
from reprise.contracts.errors import RepriseError
from reprise.contracts.model import Target, Workload

WORKLOAD = Workload(namespace="default", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")
LIVE = ("default", "u1", "counter")


class Crash(BaseException):
    """kill -9, at a call to the store."""


class Actor:
    """One process: it waits at each call to the store until it is let on."""

    def __init__(self, store: MemoryStore, act: Callable[[Repository], object]) -> None:
        self._let_on, self._waiting = threading.Semaphore(0), threading.Semaphore(0)
        self.crashed = self.free = self.done = False
        self.error: BaseException | None = None
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

    def arrive(self) -> None:
        """Called by the gate, in whichever thread of the actor makes the call."""
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
            self._actor.arrive()
            found = getattr(self._store, verb)(*args)
            return iter(list(found)) if verb == "list" else found

        return call


class Store(MemoryStore):
    """With a clock that the test moves."""

    def __init__(self) -> None:
        super().__init__()
        self.at = datetime(2026, 11, 24, tzinfo=UTC)
        self.now = lambda: self.at

    def list(self, prefix: str) -> Iterator[Entry]:
        return super().list(prefix)


def archive(labels: tuple[int, ...]) -> bytes:
    """Pages by label. A few per pack, so that packs are shared, partly used, and given up."""
    return build(members(pages=b"".join(hashlib.shake_128(bytes([label])).digest(4096) for label in labels)))


memories = st.tuples(*(st.integers(1, 9),) * 6)


class Interleaved(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.store, self.actors = Store(), list[Actor]()
        self.folder = Path(tempfile.mkdtemp(prefix="collector"))
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

    @precondition(lambda self: len(self.actors) < 4)
    @rule(data=st.data())
    def start_publisher(self, data: st.DataObject) -> None:
        found = Repository(self.store, FixedKeys()).list_manifests(WORKLOAD, "counter")
        manifest = data.draw(st.sampled_from(found))
        self.start(lambda repository: repository.publish_image(manifest, LIVE[1]))

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
                assert len(objects.get(manifest.lineage.pack(ref.id), b"")) == ref.size, f"{manifest.checkpoint_id} lost a pack"
        self.seen.update(manifest.checkpoint_id for manifest in good)
        assert max(self.seen) in {manifest.checkpoint_id for manifest in good}, "the last good one was removed"
        pointer = Repository(self.store).live(*LIVE)
        if pointer:
            assert pointer.manifest_key in objects, "what a live reference shows was removed"

    def teardown(self) -> None:
        for actor in self.actors:
            actor.end(crash=actor.done)
        repository = Repository(self.store, FixedKeys())
        self.everything_committed_is_there()
        for manifest in repository.list_manifests(WORKLOAD, "counter"):
            read = b"".join(repository.read_archive(manifest))
            assert read == (self.folder / f"{manifest.checkpoint_id}.tar").read_bytes()
        assert not list(repository.check(read_data=True))
        # In the end all garbage goes: nothing leaks, whoever crashed.
        for _ in range(2):
            repository.gc(now=self.store.at + timedelta(hours=7))
        named = {ref.id for m in repository.list_manifests(WORKLOAD, "counter") for ref in m.packs}
        assert {key.rpartition("/")[2] for key in self.store.objects if key.startswith("packs/")} == named
        assert not [key for key in self.store.objects if key.startswith("intents/")]


Interleaved.TestCase.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestInterleaved = Interleaved.TestCase
