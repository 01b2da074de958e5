"""Run a pod's own probe as the kubelet would: http, tcp, exec or grpc, named ports, the pod's timeout.

Source for the semantics: k8s.io/kubernetes pkg/probe (an HTTP status of 200-399 is success, redirects to another
host are not followed, TLS is not verified).
"""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import grpc
import grpc.aio
import httpx

Exec = Callable[[list[str], float], Awaitable[tuple[int, str]]]


@dataclass(frozen=True)
class Verdict:
    """Whether the probe passed, and what was seen."""

    healthy: bool
    detail: str


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
                code, output = await exec_(list(probe._exec.command or []), timeout_s)
                return Verdict(code == 0, f"exit {code}: {output.strip()[:200]}")
    except TimeoutError:
        return Verdict(False, f"no answer within {timeout_s:g} s")
    except Exception as error:
        return Verdict(False, f"{type(error).__name__}: {error}")
    return Verdict(False, "the probe has no handler")


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
    url = f"{scheme}://{get.host or pod_ip}:{_port(get.port, ports)}{path if path.startswith('/') else '/' + path}"
    headers = {"User-Agent": "kube-probe/reprise", "Connection": "close"}
    headers |= {h.name: h.value for h in get.http_headers or []}
    async with httpx.AsyncClient(verify=_tls() if scheme == "https" else False, trust_env=False) as http:
        answer = await http.get(url, headers=headers, timeout=timeout_s)
    return Verdict(200 <= answer.status_code < 400, f"HTTP {answer.status_code}")


async def _grpc(pod_ip: str, port: int, service: str, timeout_s: float) -> Verdict:
    # The health protocol's two messages are a string field and an enum: not worth another dependency.
    name = service.encode()
    request = b"\x0a" + bytes([len(name)]) + name if 0 < len(name) < 128 else b""
    channel = grpc.aio.insecure_channel(f"{pod_ip}:{port}")
    try:
        method: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        answer: bytes = await method(request, timeout=timeout_s)
        return Verdict(answer == b"\x08\x01", "SERVING" if answer == b"\x08\x01" else "not SERVING")
    finally:
        with contextlib.suppress(Exception):
            await channel.close()
