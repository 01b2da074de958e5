"""I6: a healthy program is never ended as hung within the grace that its own spec gives it, whatever it comes from.
One that hangs is ended once that is over, and not before its kubelet would do it.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kubernetes.aio import client
from reprise.contracts.annotations import Policy
from reprise.contracts.model import Workload
from reprise.health_watcher import hangs as hangs_module
from reprise.health_watcher.graces import Graces
from reprise.health_watcher.hangs import Hangs
from reprise.health_watcher.hung import Hung
from reprise.health_watcher.model import Frozen, Subject
from reprise.runtime.cri import RunningContainer
from reprise.runtime.kube import ProtectedContainer, ProtectedPod
from reprise.runtime.probe import Verdict
from virtual import VirtualLoop

WORKLOAD = Workload(namespace="default", name="counter")
WALL = 1_790_000_000.0
WELL_S = 12.0
"""For so long the original is seen to be well before it stands still: each of its probes has passed once."""
Came = Literal["restored in place", "released shadow", "thawed original"]
CAME: tuple[Came, ...] = ("restored in place", "released shadow", "thawed original")


@dataclass(frozen=True)
class Spec:
    """As its owner wrote it; startups: its startupProbe's failureThreshold, at one period's second each; 0: it has none."""

    delay_s: int = 0
    period_s: int = 1
    failures: int = 3
    startups: int = 0

    @property
    def grace_s(self) -> float:
        return max(self.delay_s, self.startups)

    @property
    def patience_s(self) -> float:
        return self.grace_s + self.period_s * self.failures


@dataclass
class Node:
    """One container of it, from which it runs on at `from_s`, ill for `ill_s`. killed_at: when it was ended, since then."""

    spec: Spec
    came: Came
    ill_s: float
    stood_s: float = 20.0
    killed_at: float | None = None

    @property
    def from_s(self) -> float:
        return {"restored in place": 0.0, "released shadow": self.stood_s, "thawed original": WELL_S + self.stood_s}[self.came]

    @property
    def stands(self) -> bool:
        return self.from_s - self.stood_s <= _now() < self.from_s and self.came != "restored in place"

    @property
    def ill(self) -> bool:
        began_s = WELL_S if self.came == "thawed original" else 0.0
        return began_s <= _now() < self.from_s + self.ill_s

    @property
    def container(self) -> ProtectedContainer:
        """Its kubelet says that it is started as soon as it is well. One that stood still ran long before, or began frozen."""
        liveness = client.V1Probe(
            initial_delay_seconds=self.spec.delay_s, period_seconds=self.spec.period_s, failure_threshold=self.spec.failures
        )
        startup = client.V1Probe(period_seconds=1, failure_threshold=self.spec.startups) if self.spec.startups else None
        began = WALL - 3600 if self.came == "thawed original" else WALL
        return ProtectedContainer(
            "counter", "counter:1", "c1", running=True, started=self.came == "thawed original" or not (self.ill or self.stands),
            started_at=datetime.fromtimestamp(began, UTC), liveness=liveness, startup=startup,
        )  # fmt: skip

    @property
    def pods(self) -> dict[str, ProtectedPod]:
        if self.killed_at is not None:
            return {}
        pod = ProtectedPod(
            WORKLOAD, Policy(mode="criu"), "default", "counter-1", "u1", "n1", "10.0.0.1", "", "Running", False, (self.container,)
        )
        return {"u1": pod}

    @property
    def frozen(self) -> dict[str, Frozen]:
        return {"c1": Frozen(pod_uid="u1", container="counter", reasons=("isolated",))} if self.stands else {}

    held: dict[str, Any] = field(default_factory=dict)

    def is_frozen(self, _container_id: str) -> bool:
        return self.stands

    def of(self, _container_id: str) -> Any:
        return SimpleNamespace(outcome="blank" if self.came == "thawed original" else "restored")

    def subject(self, pod: ProtectedPod, container: str, container_id: str) -> Subject:
        return Subject(WORKLOAD, pod.target(container), True)

    def declare(self, *_: Any) -> None: ...

    def begins_with(self, *_: Any) -> bool:
        return False

    async def list_containers(self, _state: str) -> list[RunningContainer]:
        return [RunningContainer("c1", "s", "default", "counter-1", "u1", "counter", "", "", 0, "running", 0)]

    async def stop_container(self, _container_id: str, _grace_s: int) -> None:
        self.killed_at = _now() - self.from_s

    async def runs(self, for_s: float) -> None:
        here: Any = self
        graces = Graces(here, wall=lambda: WALL + _now())
        parts = [
            asyncio.ensure_future(part()) for part in (graces.run, Hangs(here, here, here, Hung(), here, here, here, graces).run)
        ]
        await asyncio.sleep(for_s)
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)


def play(scene: Coroutine[Any, Any, None]) -> None:
    loop = VirtualLoop()
    try:
        loop.run_until_complete(scene)
    finally:
        loop.close()


def _now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture(autouse=True, scope="module")
def probe() -> Any:
    """The container's, whatever its kind."""
    before = hangs_module.check

    async def check(*_: Any) -> Verdict:
        return Verdict(not current[0].ill, "as it is")

    hangs_module.check = check
    yield
    hangs_module.check = before


current: list[Node] = []


def outcome(node: Node, for_s: float) -> float | None:
    """When it was ended, in seconds since it ran on."""
    current[:] = [node]

    async def scene() -> None:
        await node.runs(node.from_s + for_s)

    play(scene())
    return node.killed_at


specs = st.builds(
    Spec, delay_s=st.integers(0, 40), period_s=st.integers(1, 10), failures=st.integers(1, 6),
    startups=st.sampled_from([0, 0, 1, 10, 60]),
)  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(specs, st.sampled_from(CAME), st.floats(0, 1))
def test_a_program_that_is_well_again_within_its_grace_is_never_ended(spec: Spec, came: Came, share: float) -> None:
    assert outcome(Node(spec, came, ill_s=spec.grace_s * share), spec.patience_s + 60) is None


@settings(max_examples=15, deadline=None)
@given(specs, st.sampled_from(CAME))
def test_one_that_hangs_is_ended_once_its_grace_is_over_and_not_before_its_kubelet_would(spec: Spec, came: Came) -> None:
    """One whose startupProbe never passes is its kubelet's: it is the one who counts those."""
    killed_at = outcome(Node(spec, came, ill_s=1e6), spec.patience_s + 4 * spec.period_s + 2)
    if spec.startups and came != "thawed original":
        assert killed_at is None
    else:
        assert killed_at is not None
        assert killed_at >= spec.grace_s + spec.period_s * (spec.failures - 1) - 0.01


@pytest.mark.parametrize("spec", [Spec(delay_s=30), Spec(startups=60)])
@pytest.mark.parametrize("came", CAME)
def test_one_that_reconnects_for_8_s_keeps_its_memory(spec: Spec, came: Came) -> None:
    """case 06, and its variant."""
    assert outcome(Node(spec, came, ill_s=8.0), 120) is None


def test_one_whose_spec_gives_it_no_grace_is_ended_as_its_kubelet_would() -> None:
    assert outcome(Node(Spec(), "restored in place", ill_s=8.0), 60) == pytest.approx(2, abs=1)


def test_the_pause_of_a_checkpoint_begins_no_new_grace() -> None:
    """Nobody is on the ledger for it: with a checkpoint each interval a hang would never be noticed."""
    node = Node(Spec(delay_s=5, failures=3), "restored in place", ill_s=1e6)
    node.is_frozen = lambda _: _now() % 1 < 0.2  # type: ignore[method-assign, assignment]
    assert outcome(node, 60) is not None


def test_one_of_which_it_is_not_known_when_it_was_started_is_not_asked() -> None:
    """Its kubelet has not shown it yet."""
    node = Node(Spec(delay_s=30), "restored in place", ill_s=0)
    graces: Any = Graces(node, wall=lambda: WALL)  # type: ignore[arg-type]

    async def scene() -> None:
        assert not graces.is_asked(replace(node.container, started_at=None))

    play(scene())
