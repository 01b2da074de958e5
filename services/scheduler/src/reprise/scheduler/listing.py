"""Keeps the list of annotations that have no effect, for the console and `reprise doctor`: what is wrong now.

The Events on the objects are forgotten after an hour, and say nothing once the annotation is corrected.
"""

import asyncio
from collections.abc import Callable

from nats.errors import Error as NatsError
from reprise.contracts.records import WrongAnnotation, WrongAnnotations
from reprise.runtime.kube import ProtectedPods
from reprise.runtime.kv import Bucket
from reprise.runtime.telemetry import log
from reprise.scheduler.misplaced import SHOWN, Misplaced

EVERY_S = 2.0
AT_MOST = 500
"""NATS takes a message of 1 MiB."""


class Listing:
    """leads: whether this replica is the one that writes it."""

    def __init__(
        self, pods: ProtectedPods, misplaced: Misplaced, bucket: Bucket[WrongAnnotations], leads: Callable[[], bool]
    ) -> None:
        self._pods, self._misplaced, self._bucket, self._leads = pods, misplaced, bucket, leads
        self._written: WrongAnnotations | None = None

    async def run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(EVERY_S)

    async def look(self) -> None:
        """Write it if it is another one than before."""
        if not (self._leads() and self._pods.synced):
            self._written = None  # who leads meanwhile writes it too
            return
        found = listed(self._pods, self._misplaced.found)
        if found == self._written:
            return
        try:
            await self._bucket.put(WrongAnnotations.ALL, found)
        except (NatsError, OSError, TimeoutError) as error:
            log().debug("the list of wrong annotations cannot be written, trying again", error=repr(error))
            return
        self._written = found


def listed(pods: ProtectedPods, elsewhere: tuple[WrongAnnotation, ...]) -> WrongAnnotations:
    """elsewhere: on kinds that are not followed."""
    there = {(pod.namespace, pod.name) for pod in pods.everything.values()}
    followed = [
        WrongAnnotation(
            namespace=workload.namespace, kind=workload.kind, name=workload.name, annotation=problem.annotation[:SHOWN],
            value=problem.value[:SHOWN], message=problem.message,
        )
        for workload, problems in pods.problems.items() for problem in problems
        if workload.kind != "Pod" or (workload.namespace, workload.name) in there
    ]  # fmt: skip
    found = sorted((*followed, *elsewhere), key=lambda each: (each.namespace, each.kind, each.name, each.annotation))
    return WrongAnnotations(found=tuple(found[:AT_MOST]), left_out=max(0, len(found) - AT_MOST))
