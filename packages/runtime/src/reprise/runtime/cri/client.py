"""A narrow asynchronous CRI client: what Reprise asks of CRI-O or containerd, nothing else.

`make proto` regenerates the stubs: k8s.io/cri-api v0.34.4, with the gogoproto options taken out.
"""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import grpc
import grpc.aio
from reprise.contracts.errors import RepriseError
from reprise.runtime.cri import api_pb2 as pb
from reprise.runtime.cri import api_pb2_grpc as pb_grpc

State = Literal["created", "running", "exited", "unknown"]
_STATES: dict[int, State] = {0: "created", 1: "running", 2: "exited", 3: "unknown"}


SOCKETS = ("/run/crio/crio.sock", "/run/containerd/containerd.sock")


def find_socket(chosen: str = "", among: Iterable[str] = SOCKETS) -> str:
    """Return what was chosen, or else the first socket that exists. Where there is none yet, the first: it may come."""
    candidates = tuple(among)
    return chosen or next((path for path in candidates if Path(path).exists()), candidates[0])


DEADLINE = "CriDeadlineExceeded"
"""The reason of a CriError: it took longer than it may."""


class CriError(RepriseError):
    """The container runtime refused or did not answer."""

    retryable = True


@dataclass(frozen=True)
class RunningContainer:
    """A container as the runtime sees it, with the names the kubelet labelled it with."""

    id: str
    sandbox_id: str
    namespace: str
    pod: str
    pod_uid: str
    name: str
    image: str
    image_ref: str
    attempt: int
    state: State
    created_at_ns: int


@dataclass(frozen=True)
class ContainerEvent:
    """Something happened to a container."""

    container_id: str
    kind: Literal["created", "started", "stopped", "deleted"]
    finished_at_ns: int = 0
    """When the container's process ended, by the node's clock; 0 while it runs or if the runtime does not say."""


@dataclass(frozen=True)
class Status:
    """A container's state and, once it has ended, how. Times are nanoseconds of the node's wall clock; 0: not yet."""

    state: State
    exit_code: int
    reason: str
    """Completed, Error or OOMKilled."""
    started_at_ns: int
    finished_at_ns: int
    log_path: str
    """On the node; empty: none is kept."""


_EVENTS: dict[int, Literal["created", "started", "stopped", "deleted"]] = {
    0: "created",
    1: "started",
    2: "stopped",
    3: "deleted",
}


class Cri:
    """One channel to the runtime's socket. Every method raises CriError, naming the object."""

    def __init__(self, socket_path: str) -> None:
        """socket_path: e.g. /run/crio/crio.sock."""
        self._channel = grpc.aio.insecure_channel(f"unix:{socket_path}", options=[("grpc.max_receive_message_length", 64 << 20)])
        self._runtime: Any = pb_grpc.RuntimeServiceStub(self._channel)

    async def close(self) -> None:
        await self._channel.close()

    async def version(self) -> str:
        answer = await self._call("runtime", self._runtime.Version, pb.VersionRequest())
        return f"{answer.runtime_name} {answer.runtime_version}"

    async def list_containers(self, state: State | None = None) -> list[RunningContainer]:
        chosen = None
        if state is not None:
            number = next(n for n, name in _STATES.items() if name == state)
            chosen = pb.ContainerFilter(state=pb.ContainerStateValue(state=number))  # type: ignore[arg-type]
        answer = await self._call("containers", self._runtime.ListContainers, pb.ListContainersRequest(filter=chosen), 10)
        return [_container(c) for c in answer.containers]

    async def events(self) -> AsyncIterator[ContainerEvent]:
        """GetContainerEvents. CRI-O sends none unless `enable_pod_events = true`; ends when the runtime restarts."""
        try:
            async for event in self._runtime.GetContainerEvents(pb.GetEventsRequest()):
                kind = _EVENTS.get(event.container_event_type)
                if kind:
                    finished = next((s.finished_at for s in event.containers_statuses if s.id == event.container_id), 0)
                    yield ContainerEvent(event.container_id, kind, finished)
        except grpc.aio.AioRpcError as error:
            raise CriError(error.details() or str(error.code()), subject="container events") from error

    async def stop_container(self, container_id: str, grace_s: int = 0) -> None:
        """grace_s 0 kills at once."""
        request = pb.StopContainerRequest(container_id=container_id, timeout=grace_s)
        await self._call(f"container {container_id[:12]}", self._runtime.StopContainer, request, grace_s + 15)

    async def remove_container(self, container_id: str) -> None:
        """Idempotent: a container that is gone is no error."""
        request = pb.RemoveContainerRequest(container_id=container_id)
        await self._call(f"container {container_id[:12]}", self._runtime.RemoveContainer, request, 15)

    async def status(self, container_id: str) -> Status:
        request = pb.ContainerStatusRequest(container_id=container_id)
        answer = await self._call(f"container {container_id[:12]}", self._runtime.ContainerStatus, request)
        found = answer.status
        return Status(
            state=_STATES.get(found.state, "unknown"),
            exit_code=found.exit_code,
            reason=found.reason,
            started_at_ns=found.started_at,
            finished_at_ns=found.finished_at,
            log_path=found.log_path,
        )

    async def exec_sync(self, container_id: str, command: list[str], timeout_s: float) -> tuple[int, str]:
        """Run a command in the container: exit code and combined output."""
        request = pb.ExecSyncRequest(container_id=container_id, cmd=command, timeout=max(1, round(timeout_s)))
        answer = await self._call(f"container {container_id[:12]}", self._runtime.ExecSync, request, timeout_s + 2)
        return answer.exit_code, (answer.stdout + answer.stderr).decode(errors="replace")

    async def _call(self, subject: str, method: Any, request: Any, timeout_s: float = 5) -> Any:
        try:
            return await method(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            code = error.code()
            raise CriError(
                error.details() or str(code),
                subject=subject,
                reason=f"Cri{code.name.title().replace('_', '')}",
                remedy="see the container runtime's log on the node",
            ) from error


def _container(c: Any) -> RunningContainer:
    labels = c.labels
    return RunningContainer(
        id=c.id,
        sandbox_id=c.pod_sandbox_id,
        namespace=labels.get("io.kubernetes.pod.namespace", ""),
        pod=labels.get("io.kubernetes.pod.name", ""),
        pod_uid=labels.get("io.kubernetes.pod.uid", ""),
        name=labels.get("io.kubernetes.container.name", c.metadata.name),
        image=c.image.user_specified_image or c.image.image,
        image_ref=c.image_ref,
        attempt=c.metadata.attempt,
        state=_STATES.get(c.state, "unknown"),
        created_at_ns=c.created_at,
    )
