"""A checkpoint that the process does not outrun: frozen between CRIU's end and the pause's end, or it says that it was not."""

import threading

from reprise.checkpointer.holding import Holding


class Node:
    """A container whose checkpoint the test goes through by hand."""

    def __init__(self) -> None:
        self.pause = self.pod_frozen = False
        self.stats: int | None = 7
        """Of the checkpoint before."""
        self.looked = threading.Event()

    def mark(self, container_id: str) -> object:
        self.looked.set()
        return self.stats

    def hold(self, container_id: str) -> bool:
        self.pod_frozen = self.pause
        return self.pause

    def thaw(self, container_id: str) -> None:
        self.pod_frozen = False

    def seen(self) -> None:
        """The watcher has looked at what is now."""
        for _ in range(2):
            self.looked.clear()
            assert self.looked.wait(5)


async def test_what_is_paused_when_criu_ends_stands_still_afterwards() -> None:
    node = Node()
    async with Holding(node, node).during("c1") as hold:
        node.pause = True
        node.seen()
        assert not node.pod_frozen, "CRIU still works in it"
        node.stats = 8
        while not node.pod_frozen:
            pass
        node.stats, node.pause = None, False
    assert hold.held
    assert node.pod_frozen


async def test_what_ran_again_already_is_not_held() -> None:
    node = Node()
    async with Holding(node, node).during("c1") as hold:
        node.stats = 8
    assert not hold.held
    assert not node.pod_frozen


async def test_a_dump_that_failed_holds_nothing() -> None:
    node = Node()
    async with Holding(node, node).during("c1") as hold:
        node.pause = True
        node.seen()
    assert not hold.held
    assert not node.pod_frozen
