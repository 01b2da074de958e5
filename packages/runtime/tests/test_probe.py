"""A pod's own probe, run as the kubelet runs it, against real servers on loopback."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from kubernetes.aio import client
from reprise.runtime.cri import DEADLINE, CriError
from reprise.runtime.probe import Verdict, check

HOST = "127.0.0.1"


@asynccontextmanager
async def http_server(answer: str, delay_s: float = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[str]]]:
    """Gives each request this answer; yields its port and the requests that came."""
    requests: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
        await asyncio.sleep(delay_s)
        writer.write(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1], requests


def http_probe(port: Any, **more: Any) -> client.V1Probe:
    return client.V1Probe(http_get=client.V1HTTPGetAction(port=port, path="/health", **more), timeout_seconds=1)


async def run(probe: client.V1Probe, ports: dict[str, int] | None = None) -> Verdict:
    return await check(probe, HOST, ports or {})


@pytest.mark.parametrize(
    ("answer", "healthy"), [("200 OK", True), ("302 Found", True), ("404 Not Found", False), ("500 Bad", False)]
)
async def test_an_http_status_below_400_is_health(answer: str, healthy: bool) -> None:
    async with http_server(answer) as (port, _):
        verdict = await run(http_probe(port))
    assert verdict == Verdict(healthy, f"HTTP {answer[:3]}")


async def test_an_http_probe_sends_its_own_headers_and_path() -> None:
    async with http_server("200 OK") as (port, requests):
        await run(http_probe(port, http_headers=[client.V1HTTPHeader(name="X-Probe", value="1")]))
    assert requests[0].startswith("GET /health ")
    assert "x-probe: 1" in requests[0].lower()


async def test_a_named_port_is_the_containers() -> None:
    async with http_server("200 OK") as (port, _):
        assert (await run(http_probe("web"), {"web": port})).healthy
    unknown = await run(http_probe("web"), {"other": 1})
    assert not unknown.healthy
    assert "no port named 'web'" in unknown.detail


async def test_an_answer_that_comes_too_late_is_none() -> None:
    async with http_server("200 OK", delay_s=3) as (port, _):
        assert await run(http_probe(port)) == Verdict(False, "no answer within 1 s")


@pytest.fixture
def self_signed(tmp_path: Path) -> ssl.SSLContext:
    names = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "crt"), "-subj", "/CN=nobody"]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *names]
    subprocess.run(make, check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    return tls


async def test_an_https_certificate_is_not_verified(self_signed: ssl.SSLContext) -> None:
    async with http_server("200 OK", tls=self_signed) as (port, _):
        assert (await run(http_probe(port, scheme="HTTPS"))).healthy


async def test_a_tcp_probe_wants_an_open_port() -> None:
    async with http_server("200 OK") as (port, _):
        assert (await run(client.V1Probe(tcp_socket=client.V1TCPSocketAction(port=port)))).healthy
    closed = await run(client.V1Probe(tcp_socket=client.V1TCPSocketAction(port=port)))
    assert not closed.healthy
    assert "refused" in closed.detail.lower() or "connect" in closed.detail.lower()


@pytest.mark.parametrize(("answer", "healthy"), [(b"\x08\x01", True), (b"\x08\x02", False), (b"", False)])
async def test_a_grpc_probe_wants_serving(answer: bytes, healthy: bool) -> None:
    asked: list[bytes] = []

    async def check_health(request: bytes, _context: Any) -> bytes:
        asked.append(request)
        return answer

    server = grpc.aio.server()
    handlers = {"Check": grpc.unary_unary_rpc_method_handler(check_health)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", handlers),))
    port = server.add_insecure_port(f"{HOST}:0")
    await server.start()
    try:
        verdict = await run(client.V1Probe(grpc=client.V1GRPCAction(port=port, service="db"), timeout_seconds=2))
    finally:
        await server.stop(None)
    assert verdict.healthy is healthy
    assert asked == [b"\x0a\x02db"]


@pytest.mark.parametrize(("code", "healthy"), [(0, True), (1, False)])
async def test_an_exec_probe_is_its_exit_code(code: int, healthy: bool) -> None:
    async def execute(command: list[str], timeout_s: float) -> tuple[int, str]:
        assert (command, timeout_s) == (["cat", "/ready"], 2.0)
        return code, "said so\n"

    probe = client.V1Probe(_exec=client.V1ExecAction(command=["cat", "/ready"]), timeout_seconds=2)
    assert await check(probe, HOST, {}, execute) == Verdict(healthy, f"exit {code}: said so")


@pytest.mark.parametrize(
    ("reason", "ran", "detail"), [(DEADLINE, True, "no answer within 2 s"), ("CriUnknown", False, "CriError: ")]
)
async def test_a_command_that_cannot_be_run_says_nothing_of_the_program_unless_it_took_too_long(
    reason: str, ran: bool, detail: str
) -> None:
    """A runtime runs no command in a container that is paused for a checkpoint: "cannot exec in a paused state"."""

    async def execute(_command: list[str], _timeout_s: float) -> tuple[int, str]:
        raise CriError("cannot exec in a paused state", reason=reason)

    probe = client.V1Probe(_exec=client.V1ExecAction(command=["cat", "/ready"]), timeout_seconds=2)
    found = await check(probe, HOST, {}, execute)
    assert (found.healthy, found.ran, found.detail.startswith(detail)) == (False, ran, True), found


async def test_a_probe_that_cannot_be_run_says_why_and_never_raises() -> None:
    probe = client.V1Probe(_exec=client.V1ExecAction(command=["true"]))
    assert await check(probe, HOST, {}) == Verdict(False, "an exec probe cannot be run from here")
    assert await check(client.V1Probe(), HOST, {}) == Verdict(False, "the probe has no handler")
