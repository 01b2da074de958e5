"""Finds annotations of ours on what is no workload of ours: a DaemonSet, a Job, a CronJob, a ReplicaSet without a Deployment.

Nobody follows those kinds; they are listed each LOOK_S by the replica that leads, their metadata alone. What they say protects
nothing, so their owner is told, by an Event on the object; console and doctor have them from listing.py.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from reprise.contracts import spelling
from reprise.contracts.records import WrongAnnotation
from reprise.runtime.telemetry import log

LOOK_S = 30.0
REMEMBERED = 100_000
SHOWN = 200
"""Characters of a name or value: they may be of any length."""


@dataclass(frozen=True)
class Thing:
    """An object of a kind that is not supported. owned: a controller made it, and copied its own annotations."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str
    annotations: Mapping[str, str]
    owned: bool = False


class Things(Protocol):
    """The API server. Raises what that does."""

    async def listed(self) -> list[Thing]: ...

    async def tell(self, thing: Thing, message: str) -> None:
        """An Event on it. Never raises."""
        ...


class Misplaced:
    """leads: whether this replica is the one that looks."""

    def __init__(self, things: Things, leads: Callable[[], bool]) -> None:
        self._things, self._leads = things, leads
        self._told: set[tuple[str, str]] = set()
        self.found: tuple[WrongAnnotation, ...] = ()
        """By the last look."""

    async def run(self) -> None:
        while True:
            if self._leads():
                try:
                    await self.look()
                except Exception as error:  # of the API server: it is looked for again
                    log().warning("cannot look for annotations that nobody reads, trying again", error=repr(error))
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        things = await self._things.listed()
        self.found = tuple(each for thing in things for each in findings(thing))
        for thing in things:
            for wrong in findings(thing):
                text = f"{wrong.annotation}: {wrong.value!r}: {wrong.message}"
                if (thing.uid, text) not in self._told:
                    if len(self._told) > REMEMBERED:
                        self._told.clear()
                    self._told.add((thing.uid, text))
                    log().warning("annotation that nobody reads", kind=thing.kind, name=thing.name, problem=text)
                    await self._things.tell(thing, text)


def findings(thing: Thing) -> list[WrongAnnotation]:
    """Return what is said of it."""
    if thing.owned:
        return []
    return [
        WrongAnnotation(
            namespace=thing.namespace, kind=thing.kind, name=thing.name, annotation=name[:SHOWN], value=value[:SHOWN], message=why
        )
        for name, value, why in spelling.misplaced(thing.annotations, spelling.on_kind(thing.kind))
    ]  # fmt: skip
