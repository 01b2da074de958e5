"""A value in a bucket that nobody can read stops neither the failover that it is of nor anybody else's."""

import itertools
from typing import cast

import pytest
from reprise.contracts.errors import RepriseError
from reprise.restorer.leftovers import LeftOvers
from reprise.restorer.ports import Pods
from reprise.runtime.testing import MemoryBus, MemoryServer
from worlds import (
    World,
    end_of,
)

CACHES = ("standby", "recoveries", "wanted", "holds", "resumes", "starts")
LOST_WITH_IT = ("bare", "resumes")
"""What a bare pod is to be made of again is nowhere else: its failover says so, and is tried again until it is put back."""
PATHS = ("in-place", "shadow", "move", "restore", "stateful", "stateful move", "bare", "elsewhere")


class Poisoned(World):
    """All that there is in a bucket is poisoned once, at one call."""

    def __init__(self, path: str, bucket: str, at: int) -> None:
        super().__init__(path)
        self._bucket, self._at = bucket, at

    async def _on_call(self, when: str, what: str) -> None:
        if len(self.calls) == self._at:
            for name in list(self.server.buckets.get(self._bucket, {})):
                self.server.poison(self._bucket, name)
        await super()._on_call(when, what)


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("path", "bucket"), [(path, bucket) for path in PATHS for bucket in CACHES if (path, bucket) != LOST_WITH_IT]
)
async def test_a_failover_ends_with_at_most_one_instance(path: str, bucket: str) -> None:
    for at in itertools.count(0, 11):
        world = Poisoned(path, bucket, at)
        saga = await world.run()
        end = await end_of(world, saga)
        assert saga.ended or saga.step == "wait", f"at {at}"
        assert len(end.serving) <= 1, f"at {at}"
        if at > len(world.calls):
            break


async def test_while_a_failover_cannot_be_read_nothing_is_taken_for_left_over() -> None:
    """It may run, of whichever pod."""
    server = MemoryServer()
    server.poison("failovers", "fo-x")
    with pytest.raises(RepriseError, match="fo-x"):
        await LeftOvers(MemoryBus(server), cast(Pods, None), lambda: True).look()
