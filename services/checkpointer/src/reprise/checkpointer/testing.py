"""A node for checkpointer's tests: its kubelet, which calls an engine, the files between them, and its freezer."""

import asyncio
import contextlib
from collections.abc import Callable

from reprise.checkpointer.decide import Failure, Refusal
from reprise.contracts.model import Target
from reprise.contracts.records import Checkup, Question
from reprise.runtime.checkup import subject
from reprise.runtime.nodefiles import DumpFile, RequestFile
from reprise.runtime.testing import MemoryBus, MemoryServer

STUB = "/var/lib/kubelet/checkpoints/checkpoint-1.tar"
Engine = Callable[[RequestFile, str], DumpFile | None]


def dumps(request: RequestFile, of: str, /, **changed: object) -> DumpFile:
    """What the engine writes of a checkpoint that went well."""
    slot = f"{request.slots}/counter/{request.checkpoint_id}"
    told = DumpFile(
        checkpoint_id=request.checkpoint_id, container_id=of, outcome="ok", slot=slot, pause_s=0.14, held=request.hold
    )
    return told.model_copy(update=changed)


def fails(error: str) -> Engine:
    return lambda request, container_id: dumps(request, container_id, outcome="failed", slot="", held=False, error=error)


WELL = Checkup(healthy=True, detail="HTTP 200", tolerated_s=3.0)


def agent_says(server: MemoryServer, *told: Checkup) -> list[Question]:
    """The node's agent answers these, one after the other, and the last one ever after. Returns what is asked, as it comes."""
    asked: list[Question] = []
    answers, last = iter(told), told[-1]

    async def answer(payload: bytes) -> bytes:
        asked.append(Question.model_validate_json(payload))
        return next(answers, last).model_dump_json().encode()

    MemoryBus(server).answer(subject("n1"), answer)
    return asked


class Machine:
    """What happened on it is in `story`."""

    def __init__(self, engine: Engine | None = dumps, answer: str | Refusal | Failure | Exception = STUB) -> None:
        self.engine, self.answer = engine, answer
        self.requests: dict[str, RequestFile] = {}
        self.dumped: dict[str, DumpFile] = {}
        self.story: list[str] = []
        self.freezes: bool | OSError = True
        self.unwritable = False
        self.container_frozen = self.pod_frozen = False
        self.killed_in_the_pause = False
        self.packs: asyncio.Event | None = None
        """The runtime packs its archive until this is set."""

    async def checkpoint(self, _namespace: str, target: Target) -> str | Refusal | Failure:
        self.story.append("kubelet")
        request = self.requests.get(target.container_id)
        if self.engine and request and (told := self.engine(request, target.container_id)):
            self.dumped[target.container_id] = told
            self.container_frozen = self.container_frozen or told.held
        if self.killed_in_the_pause:
            self.container_frozen = True
        if self.packs:
            await self.packs.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def write_request(self, container_id: str, file: RequestFile) -> None:
        if self.unwritable:
            raise PermissionError(13, "Permission denied")
        self.story.append("request written")
        self.requests[container_id] = file

    def remove_request(self, container_id: str) -> None:
        self.story.append("request removed")
        with contextlib.suppress(KeyError):
            del self.requests[container_id]

    def read_dump(self, container_id: str) -> DumpFile | None:
        return self.dumped.get(container_id)

    def freeze(self, _container_id: str) -> bool:
        if isinstance(self.freezes, OSError):
            raise self.freezes
        self.story.append("pod frozen")
        self.pod_frozen = self.freezes
        return self.freezes

    def thaw(self, _container_id: str) -> None:
        self.story.append("thawed")
        self.container_frozen = self.pod_frozen = False

    def thaw_alone(self, _container_id: str) -> None:
        self.story.append("thawed alone")
        self.container_frozen = False

    def is_frozen(self, _container_id: str) -> bool:
        return self.container_frozen or self.pod_frozen
