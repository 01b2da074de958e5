"""Run a pod's own probe as the kubelet would: http, tcp, exec or grpc, named ports, the pod's timeout.

Source for the semantics: k8s.io/kubernetes pkg/probe (an HTTP status of 200-399 is success, a redirect to another host is not
followed and is success, TLS is not verified). To be run from the pod's own node, in its host's network, as the kubelet does:
there `host: 127.0.0.1` means the node, and no NetworkPolicy is in the way.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import httpx
from reprise.runtime.addresses import bracketed
from reprise.runtime.cri import DEADLINE, CriError

if TYPE_CHECKING:
    from reprise.runtime.kube import ProtectedContainer

MOST_REDIRECTS = 10
Exec = Callable[[list[str], float], Awaitable[tuple[int, str]]]


@dataclass(frozen=True)
class Verdict:
    """Whether the probe passed, and what was seen."""

    healthy: bool
    detail: str
    answered: bool = field(default=False, compare=False)
    """The program itself said yes or no, in HTTP or gRPC: it may not be well, but it does not hang."""
    ran: bool = field(default=True, compare=False)
    """False: a command could not be run, which says nothing of the program; the kubelet throws that away too (pkg/probe/exec)."""


async def check_container(container: "ProtectedContainer", pod_ip: str, exec_: Exec) -> Verdict:
    """Whether it is healthy, by its own probes. Its livenessProbe decides: one that is not Ready on purpose, a passive replica,
    is as healthy as any. Without one its readinessProbe tells whether it answers at all, if only with a no. Never raises.
    """
    probe = container.liveness or container.readiness
    if probe is None:
        return Verdict(True, "running; it has no probe")
    verdict = await check(probe, pod_ip, container.ports, exec_)
    if verdict.healthy or container.liveness or not verdict.answered:
        return verdict
    return replace(verdict, healthy=True, detail=f"{verdict.detail}: not ready, but it answers")


async def check(probe: Any, pod_ip: str, ports: dict[str, int], exec_: Exec | None = None) -> Verdict:  # noqa: PLR0911
    """Run one V1Probe once. Never raises: a probe that cannot be run is unhealthy and says why."""
    timeout_s = float(probe.timeout_seconds or 1)
    try:
        async with asyncio.timeout(timeout_s):
            if probe.http_get:
                return await _http(probe.http_get, pod_ip, ports, timeout_s)
            if probe.tcp_socket:
                port = _port(probe.tcp_socket.port, ports)
                _, writer = await asyncio.open_connection(probe.tcp_socket.host or pod_ip, port)
                writer.close()
                return Verdict(True, f"tcp {port} accepts")
            if probe.grpc:
                return await _grpc(pod_ip, probe.grpc.port, probe.grpc.service or "", timeout_s)
            if getattr(probe, "_exec", None):
                if exec_ is None:
                    return Verdict(False, "an exec probe cannot be run from here")
                return await _exec(exec_, list(probe._exec.command or []), timeout_s)
    except TimeoutError:
        return Verdict(False, f"no answer within {timeout_s:g} s")
    except Exception as error:
        return Verdict(False, f"{type(error).__name__}: {error}")
    return Verdict(False, "the probe has no handler")


async def _exec(exec_: Exec, command: list[str], timeout_s: float) -> Verdict:
    try:
        code, output = await exec_(command, timeout_s)
    except CriError as error:
        if error.reason == DEADLINE:
            raise TimeoutError from error
        return Verdict(False, f"{type(error).__name__}: {error}", ran=False)
    return Verdict(code == 0, f"exit {code}: {output.strip()[:200]}")


def _port(port: Any, ports: dict[str, int]) -> int:
    if isinstance(port, str) and not port.isdigit():
        if port not in ports:
            raise ValueError(f"the container has no port named {port!r}")
        return ports[port]
    return int(port)


@cache  # building a context reads the trust store: 20 ms each time otherwise
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _http(get: Any, pod_ip: str, ports: dict[str, int], timeout_s: float) -> Verdict:
    scheme = (get.scheme or "HTTP").lower()
    path = get.path or "/"
    url = httpx.URL(
        f"{scheme}://{bracketed(get.host or pod_ip)}:{_port(get.port, ports)}{path if path.startswith('/') else '/' + path}"
    )
    headers = {"User-Agent": "kube-probe/reprise", "Connection": "close"}
    headers |= {h.name: h.value for h in get.http_headers or []}
    async with httpx.AsyncClient(verify=_tls() if scheme == "https" else False, trust_env=False) as http:
        for _ in range(MOST_REDIRECTS):
            async with http.stream("GET", url, headers=headers, timeout=timeout_s) as answer:  # its body may have no end
                status, location = answer.status_code, answer.headers.get("location", "")
            onward = url.join(location) if 300 <= status < 400 and location else url
            if onward == url or onward.host != url.host:
                return Verdict(200 <= status < 400, f"HTTP {status}", answered=True)
            url = onward
    return Verdict(False, f"more than {MOST_REDIRECTS} redirects", answered=True)


async def _grpc(pod_ip: str, port: int, service: str, timeout_s: float) -> Verdict:
    # The health protocol's two messages are a string field and an enum: not worth another dependency.
    name = service.encode()
    request = b"\x0a" + bytes([len(name)]) + name if 0 < len(name) < 128 else b""
    channel = grpc.aio.insecure_channel(f"{bracketed(pod_ip)}:{port}")
    try:
        method: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        answer: bytes = await method(request, timeout=timeout_s)
        return Verdict(answer == b"\x08\x01", "SERVING" if answer == b"\x08\x01" else "not SERVING", answered=True)
    finally:
        with contextlib.suppress(Exception):
            await channel.close()
