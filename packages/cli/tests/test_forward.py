"""The port-forward's listener: bytes pass both ways, and what cannot be reached is told by the pod's name."""

import socket
from queue import Queue
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException
from reprise.cli.adapters.forward import Forward
from reprise.cli.ports import ClusterError, ConsoleError


class Tunnel:
    """Stands in for the SDK's websocket: the far end answers in capitals."""

    def __init__(self, error: str | None = None) -> None:
        self._near, self.far = socket.socketpair()
        self._error = error

    def socket(self, port: int) -> socket.socket:
        return self._near

    def error(self, port: int) -> str | None:
        return self._error

    def close(self) -> None:
        self._near.close()


def forward(monkeypatch: pytest.MonkeyPatch, connect: Any) -> Forward:
    monkeypatch.setattr(Forward, "_connect", lambda self: connect())
    return Forward(SimpleNamespace(), "reprise-system", "minio-1", 9000)


def dial(address: str) -> socket.socket:
    host, port = address.split(":")
    return socket.create_connection((host, int(port)), timeout=5)


def test_bytes_pass_both_ways_and_each_connection_has_a_tunnel_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    made: Queue[Tunnel] = Queue()

    def connect() -> Tunnel:
        made.put(Tunnel())
        return made.queue[-1]

    with forward(monkeypatch, connect) as address:
        made.get()  # the first only asks whether it may
        for _ in range(2):
            with dial(address) as near:
                near.sendall(b"hello")
                far = made.get(timeout=5).far
                far.settimeout(5)
                assert far.recv(100) == b"hello"
                far.sendall(b"HELLO")
                assert near.recv(100) == b"HELLO"
                far.close()
                assert near.recv(100) == b""


def test_a_missing_right_is_told_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise ApiException(status=0, reason="Handshake status 403 Forbidden")

    with pytest.raises(ClusterError, match="pod minio-1 in reprise-system, port 9000: no port-forward: Handshake status 403"):
        forward(monkeypatch, refuse).__enter__()


def test_what_the_kubelet_said_is_told_instead_of_a_closed_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect() -> Tunnel:
        tunnel = Tunnel("nothing listens on 9000")
        tunnel.far.close()
        return tunnel

    with pytest.raises(ClusterError, match="nothing listens on 9000"), forward(monkeypatch, connect) as address:
        with dial(address) as near:
            assert near.recv(1) == b""
        raise ConsoleError("it does not answer", retryable=True)


def test_nothing_listens_after_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with forward(monkeypatch, Tunnel) as address:
        pass
    with pytest.raises(OSError):
        dial(address)
