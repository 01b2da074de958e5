"""Packs that nodes still hold, for healing the store."""

import time
from pathlib import Path, PurePosixPath
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream

PACKS_DIR = PurePosixPath("/var/lib/reprise/packs")
"""Where deploy/ mounts a node's copies into its transfer pod."""
READ_S = 120.0
SEND = "import shutil, sys; shutil.copyfileobj(open(sys.argv[1], 'rb'), sys.stdout.buffer)"


class FolderCopies:
    """A node's folder, read only: transfer owns it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, key: str) -> bytes | None:
        if key.startswith("/") or ".." in key.split("/"):
            return None
        try:
            return (self._folder / key).read_bytes()
        except OSError:
            return None


class NodeCopies:
    """Asks each node's transfer pod in turn, with the user's right to exec. A node that is away holds nothing."""

    def __init__(self, configuration: Any, namespace: str, pods: list[str]) -> None:
        self._configuration, self._namespace, self._pods = configuration, namespace, pods

    def read(self, key: str) -> bytes | None:
        if key.startswith("/") or ".." in key.split("/"):
            return None
        for pod in self._pods:
            data = self.read_file(pod, str(PACKS_DIR / key))
            if data:
                return data
        return None

    def read_file(self, pod: str, path: str) -> bytes | None:
        """None if it is not there or the pod does not answer."""
        # A client of its own: the SDK's stream() swaps a method of the client that it is given.
        core = client.CoreV1Api(client.ApiClient(self._configuration))
        try:
            channel: Any = stream(
                core.connect_get_namespaced_pod_exec, pod, self._namespace, command=["python", "-c", SEND, path],
                stdout=True, stderr=True, stdin=False, tty=False, binary=True, _preload_content=False,
            )  # fmt: skip
            return _collected(channel)
        except (ApiException, OSError):
            return None


def _collected(channel: Any) -> bytes | None:
    """Piece by piece: the SDK's own collecting copies everything again with each frame."""
    pieces, end = [], time.monotonic() + READ_S
    try:
        while channel.is_open() and time.monotonic() < end:
            channel.update(timeout=1)
            pieces.append(channel.read_channel(1))
        pieces.append(channel.read_channel(1))
        return b"".join(pieces) if channel.returncode == 0 else None
    finally:
        channel.close()
