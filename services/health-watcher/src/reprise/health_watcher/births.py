"""Hold the blank at birth: what the kubelet starts in place of a crashed container that is not armed yet.

Until the restorer has given the pod its checkpoint as image, the kubelet's restart is a blank instance, and it would serve.
It is frozen as it starts, and then ended for its restore, or let run: when the failover is given up, and after the budget at
the latest, whoever is away (I6). A pod's first instance is never held, nor one of which no checkpoint is known.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import Counter
from reprise.contracts.events import CheckpointStored, FailoverAbandoned, FailoverCompleted, FailoverStarted
from reprise.contracts.model import Target, failover_id
from reprise.health_watcher.adapters.files import write_whole
from reprise.health_watcher.decide import on_birth
from reprise.health_watcher.model import Birth
from reprise.health_watcher.origins import Origins
from reprise.health_watcher.ports import Freezer
from reprise.runtime.cri import CriError, RunningContainer
from reprise.runtime.telemetry import log

FORGOTTEN_AFTER_S = 600.0
TICK_S = 0.1

HELD = Counter("reprise_blanks_held_total", "Blank instances that were frozen at birth, by how that ended", ["end"])

Name = tuple[str, str]
"""A pod's UID and a container's name."""


@dataclass
class Awaited:
    """A container that died, and whose restore is waited for. Times by the monotonic clock."""

    failover_id: str
    died_id: str
    since: float
    born_at: float | None = None
    placed_at: float | None = None


class Births:
    """budget_s: how long a blank is held at most, from the first one's birth; 0 holds none. frozen_for_good: what the node's
    isolation froze, which is thawed by its rules only.
    """

    def __init__(
        self,
        origins: Origins,
        freezer: Freezer,
        state_dir: Path,
        budget_s: float,
        frozen_for_good: Callable[[str], bool],
    ) -> None:
        self._origins, self._freezer = origins, freezer
        self._budget_s, self._frozen_for_good = budget_s, frozen_for_good
        self._record = state_dir / "held.json"
        self._before = self._load()
        self._awaited: dict[Name, Awaited] = {}
        self._good: set[Name] = set()
        self._held: dict[str, Name] = {}
        self._seen: set[str] = set()
        self.superseded: set[str] = set()
        """Blank instances whose end is no crash: they were held, or ended for a restore."""

    def died(self, target: Target) -> None:
        """An unarmed container ended and its failover is declared."""
        name = (target.pod_uid, target.container)
        if self._budget_s > 0 and target.container_id not in self.superseded:
            self._awaited[name] = Awaited(failover_id(target), target.container_id, time.monotonic())

    async def listed(self, containers: Iterable[RunningContainer]) -> None:
        """At each look at the runtime's containers."""
        known = list(containers)
        running = [c for c in known if c.state == "running"]
        for container in running:
            awaited = self._awaited.get((container.pod_uid, container.name))
            if awaited and container.id not in (awaited.died_id, *self._seen):
                await self._born(container, awaited)
        self._seen &= {c.id for c in running}
        self.superseded &= {c.id for c in known}
        self._good &= {(c.pod_uid, c.name) for c in known}

    async def _born(self, container: RunningContainer, awaited: Awaited) -> None:
        now, name = time.monotonic(), (container.pod_uid, container.name)
        self._seen.add(container.id)
        try:
            restored = await self._origins.restored(container)
        except CriError as error:
            log().warning("not known whether it is restored: it runs", pod=container.pod, error=str(error))
            restored = True
        awaited.born_at = now if awaited.born_at is None else awaited.born_at
        placed = awaited.placed_at is not None and now - awaited.placed_at < self._budget_s
        birth = Birth(
            restored=restored, first=container.attempt == 0, has_checkpoint=name in self._good,
            placed=placed, in_budget=now - awaited.born_at < self._budget_s,
        )  # fmt: skip
        verdict = on_birth(birth)
        log().info("container born in place of one that ended", pod=container.pod, act=verdict.act, why=verdict.why)
        if verdict.act == "hold":
            await self._hold(container, name)
        elif verdict.act == "end":
            await self._end(container.id)
        else:
            self._awaited.pop(name, None)

    async def _hold(self, container: RunningContainer, name: Name) -> None:
        self._held[container.id] = name
        self._save()  # before the act: an agent that is killed here lets it run when it is back
        try:
            await asyncio.to_thread(self._freezer.freeze_alone, container.id)
        except OSError as error:
            log().warning("could not hold a blank instance", pod=container.pod, error=str(error))
            self._let_run(container.id, "not frozen")
            return
        self.superseded.add(container.id)
        log().info("blank instance held at birth", pod=container.pod, id=container.id[:12], at_most_s=self._budget_s)

    async def _end(self, container_id: str) -> None:
        self.superseded.add(container_id)
        try:
            await asyncio.to_thread(self._freezer.kill, container_id)
        except OSError as error:  # the kubelet ends it by itself, after its grace period
            log().warning("could not end a blank instance", id=container_id[:12], error=str(error))
            self._let_run(container_id, "not ended")
            return
        self._forget(container_id, "ended for its restore")

    async def on_event(self, event: CheckpointStored | FailoverStarted | FailoverAbandoned | FailoverCompleted) -> None:
        """What decides about a blank."""
        name = (event.target.pod_uid, event.target.container)
        if isinstance(event, CheckpointStored):
            self._good.add(name)
            return
        awaited = self._awaited.get(name)
        if awaited is None and isinstance(event, FailoverStarted) and event.path == "in-place-patch" and self._budget_s > 0:
            # A kubelet that was about to look at the pod does so with the image that it had before: it starts a blank.
            awaited = self._awaited[name] = Awaited(event.failover_id, event.target.container_id, time.monotonic())
        if awaited is None or awaited.failover_id != event.failover_id:
            return
        held = [container_id for container_id, of in self._held.items() if of == name]
        if isinstance(event, FailoverStarted) and event.path == "in-place-patch":
            awaited.placed_at = time.monotonic()
            for container_id in held:
                await self._end(container_id)
            return
        if isinstance(event, FailoverStarted):
            return
        self._awaited.pop(name, None)
        for container_id in held:
            self._let_run(container_id, "given up" if isinstance(event, FailoverAbandoned) else "completed")

    async def run(self) -> None:
        """Let run what an agent before this one held, and then whatever the budget is over for."""
        for container_id in self._before:
            self._let_run(container_id, "agent restarted")
        while True:
            now = time.monotonic()
            for container_id, name in list(self._held.items()):
                awaited = self._awaited.get(name)
                if awaited is None or awaited.born_at is None or now - awaited.born_at >= self._budget_s:
                    self._awaited.pop(name, None)
                    self._let_run(container_id, "budget over")
            self._awaited = {n: a for n, a in self._awaited.items() if now - a.since < FORGOTTEN_AFTER_S}
            await asyncio.sleep(TICK_S)

    def _let_run(self, container_id: str, why: str) -> None:
        self.superseded.discard(container_id)
        if not self._frozen_for_good(container_id):
            try:
                self._freezer.thaw_alone(container_id)
            except OSError as error:  # tried again by run()
                log().error("could not thaw a blank instance, trying again", id=container_id[:12], error=str(error))
                self._held.setdefault(container_id, ("", ""))
                return
        self._forget(container_id, why)

    def _forget(self, container_id: str, why: str) -> None:
        if self._held.pop(container_id, None) is not None:
            HELD.labels(why).inc()
            log().info("blank instance no longer held", id=container_id[:12], why=why)
        self._save()

    def _load(self) -> list[str]:
        try:
            return [str(each) for each in json.loads(self._record.read_text())]
        except (OSError, ValueError):
            return []

    def _save(self) -> None:
        write_whole(self._record, json.dumps(sorted(self._held)))
