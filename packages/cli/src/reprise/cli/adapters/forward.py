"""A port-forward of our own: a listener on loopback, and a websocket to the API server for each connection to it.

The SDK's sync client forwards over websockets (its asyncio client does not), so that neither kubectl nor its version matters.
"""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import portforward
from reprise.cli.ports import ClusterError

CHUNK = 1 << 16
_SDK_THREAD = "Kubernetes port forward proxy"


class Forward:
    """`with Forward(...) as address`: host:port on this machine. Raises ClusterError if the pod cannot be reached."""

    def __init__(self, configuration: Any, namespace: str, pod: str, port: int, local: int = 0) -> None:
        self._configuration, self._namespace, self._pod, self._port = configuration, namespace, pod, port
        try:
            self._listener = socket.create_server(("127.0.0.1", local))
        except OSError as error:
            why = error.strerror or str(error)
            raise ClusterError(
                f"it cannot be listened on: {why}", subject=f"port {local}", remedy="choose another port"
            ) from error
        self._open: set[socket.socket] = set()
        self._said = ""

    def __enter__(self) -> str:
        _quiet()
        try:
            self._connect().close()  # so that a missing right is told here, by its name
        except ApiException as error:
            self._listener.close()
            raise self._refused(str(error.reason)) from error
        threading.Thread(target=self._accept, daemon=True).start()
        host, port = self._listener.getsockname()[:2]
        return f"{host}:{port}"

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            _end(connection)
        if self._said and getattr(error, "retryable", False):
            raise self._refused(self._said) from error

    def _connect(self) -> Any:
        # A client of its own: the SDK swaps a method of the client that it is given, and threads would meet in that.
        core = client.CoreV1Api(client.ApiClient(self._configuration))
        return portforward(core.connect_get_namespaced_pod_portforward, self._pod, self._namespace, ports=str(self._port))

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed: the end
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        self._open.add(connection)
        try:
            tunnel = self._connect()
        except (ApiException, OSError) as error:
            self._said = str(getattr(error, "reason", error))
            _end(connection)
            return
        far = tunnel.socket(self._port)
        up = threading.Thread(target=_copy, args=(connection, far), daemon=True)
        up.start()
        with contextlib.suppress(OSError):
            while data := far.recv(CHUNK):
                connection.sendall(data)
        self._said = tunnel.error(self._port) or self._said  # before the near end can notice
        _end(connection)
        up.join()
        _end(far)
        self._open.discard(connection)

    def _refused(self, why: str) -> ClusterError:
        detail = " ".join(why.split())[:200]
        return ClusterError(
            f"no port-forward: {detail}", subject=f"pod {self._pod} in {self._namespace}, port {self._port}",
            remedy="it needs the right to create pods/portforward, and the pod to run", retryable=True,
        )  # fmt: skip


def _copy(source: Any, sink: Any) -> None:
    """Until the source ends; then the sink reads its end too."""
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


def _end(connection: Any) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def _quiet() -> None:
    """The SDK's thread dies with a trace when its websocket breaks; whoever reads from it is told by the closed socket."""
    before = threading.excepthook
    if getattr(before, "quiet", False):
        return

    def hook(told: threading.ExceptHookArgs) -> None:
        if not (told.thread and told.thread.name.startswith(_SDK_THREAD)):
            before(told)

    hook.quiet = True  # type: ignore[attr-defined]
    threading.excepthook = hook
