"""A program's own state: GET it, POST it back. At the pod's IP; bounded in time and size; no redirect is followed.

What fails is a CheckpointError (of GET) or a RecoveryError (of POST) that says why and what to do; retryable if the program did
not answer (yet), not if it said no.
"""

import asyncio
import base64
import hashlib
import re
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from kubernetes.aio import client
from reprise.contracts.errors import CheckpointError, RecoveryError
from reprise.contracts.state import StateApi
from reprise.runtime.addresses import bracketed

TIMEOUT_S = 30.0
PIECE = 1 << 20
TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}")
VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]{0,16384}")
"""Of a header. One that is none would be quoted in the error."""
SAID = 200
"""Of what a program says why it refuses its state."""
STARTING = 503
"""A program that cannot take it yet says so."""


@dataclass(frozen=True)
class Access:
    """How one pod's program is reached. verify: whom its certificate must be signed by."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    verify: ssl.SSLContext | None = None
    max_bytes: int = 64 << 20
    timeout_s: float = TIMEOUT_S

    def open(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            verify=self.verify or False, trust_env=False, follow_redirects=False,
            timeout=httpx.Timeout(self.timeout_s, connect=3),
            headers=self.headers | {"User-Agent": "reprise", "Accept-Encoding": "identity"},
        )  # fmt: skip


@dataclass(frozen=True)
class State:
    """What came with the bytes."""

    content_type: str
    etag: str
    size: int


async def fetch(access: Access, etag: str, write: Callable[[bytes], object]) -> State | None:
    """Stream the state into write(); None: it is the one of this ETag still. Raises CheckpointError."""
    try:
        async with asyncio.timeout(access.timeout_s), access.open() as http:
            headers = {"If-None-Match": etag} if etag else {}
            async with http.stream("GET", access.url, headers=headers) as answer:
                if answer.status_code == 304 and etag:
                    return None
                _require_good(access, answer)
                size = 0
                async for piece in answer.aiter_raw(PIECE):
                    size += len(piece)
                    if size > access.max_bytes:
                        raise _too_large(access, f"more than {access.max_bytes} bytes")
                    write(piece)
    except (TimeoutError, httpx.TimeoutException) as error:
        raise CheckpointError(
            f"GET {access.url} did not end within {access.timeout_s:g} s", reason="StateTimeout", retryable=True,
            remedy="answer sooner, or hand out less state",
        ) from error  # fmt: skip
    except (httpx.HTTPError, OSError) as error:
        raise _unreachable(access, error) from error
    if size == 0:
        raise CheckpointError(
            f"GET {access.url} answers with nothing", reason="StateEmpty", remedy="answer with the state, or 503"
        )
    return State(answer.headers.get("Content-Type", ""), answer.headers.get("ETag", ""), size)


def _require_good(access: Access, answer: httpx.Response) -> None:
    if 300 <= answer.status_code < 400:
        to = answer.headers.get("Location", "nowhere")[:200]
        raise CheckpointError(f"GET {access.url} answers {answer.status_code} and sends us to {to}", reason="StateRedirect",
                              remedy="name the path that answers itself: no redirect is followed")  # fmt: skip
    if answer.status_code != 200:
        raise CheckpointError(f"GET {access.url} answers {answer.status_code}, not 200", reason="StateStatus",
                              remedy="see the program's log; is reprise.dev/state-path right?")  # fmt: skip
    if (encoding := answer.headers.get("Content-Encoding", "identity").lower()) != "identity":
        # Not decoded here: 64 KiB can be gigabytes of it, and the POST has to bring back what was handed out.
        raise CheckpointError(f"GET {access.url} answers in Content-Encoding {encoding[:100]}", reason="StateEncoded",
                              remedy="answer without one: we ask with `Accept-Encoding: identity`")  # fmt: skip
    told = answer.headers.get("Content-Length", "")
    if told.isdigit() and int(told) > access.max_bytes:
        raise _too_large(access, f"{told} bytes, and {access.max_bytes} are allowed")


def _too_large(access: Access, how: str) -> CheckpointError:
    return CheckpointError(f"GET {access.url} answers with {how}", reason="StateTooLarge",
                           remedy="raise reprise.dev/state-max-bytes, or hand out less state")  # fmt: skip


def _unreachable(access: Access, error: Exception) -> CheckpointError:
    if why := _distrust(error):
        return CheckpointError(f"the certificate at {access.url} is not trusted: {why[0]}", reason="StateCertificate",
                               remedy=why[1])  # fmt: skip
    return CheckpointError(f"GET {access.url}: {type(error).__name__}: {error}".rstrip(": "), reason="StateUnreachable",
                           remedy="does it listen at reprise.dev/state-port on the pod's IP? is reprise.dev/state-scheme right?",
                           retryable=True)  # fmt: skip


def _distrust(error: Exception) -> tuple[str, str] | None:
    """What is wrong with a certificate, and what to do."""
    found = str(error)
    if "CERTIFICATE_VERIFY_FAILED" not in found:
        return None
    if "expired" in found or "not yet valid" in found:
        todo = "renew it; or the one in `ca.crt` of the ConfigMap that reprise.dev/state-ca names, if that is what ran out"
        return found, todo
    return found, "sign it by `ca.crt` of the ConfigMap that reprise.dev/state-ca names, or name another ConfigMap there"


async def answers(access: Access) -> bool:
    """Whether it answers now, whatever it says, but that it is only starting. Raises nothing."""
    try:
        async with asyncio.timeout(access.timeout_s), access.open() as http, http.stream("GET", access.url) as answer:
            return answer.status_code != STARTING
    except (TimeoutError, httpx.HTTPError, OSError):
        return False


async def hand_over(access: Access, state: Path, content_type: str) -> None:
    """POST it back. Raises RecoveryError: retryable if it did not answer, or not yet (503)."""
    size = (await asyncio.to_thread(state.stat)).st_size
    headers = {"Content-Length": str(size)} | ({"Content-Type": content_type} if content_type else {})
    try:
        async with (
            asyncio.timeout(access.timeout_s), access.open() as http,
            http.stream("POST", access.url, content=_pieces(state), headers=headers) as answer,
        ):  # fmt: skip
            said = "" if answer.is_success else await _begin_of(answer)
    except (TimeoutError, httpx.HTTPError, OSError) as error:
        if why := _distrust(error):
            raise RecoveryError(f"the certificate at {access.url} is not trusted: {why[0]}", reason="StateCertificate",
                                remedy=why[1], retryable=True) from error  # fmt: skip
        raise RecoveryError(
            f"POST {access.url}: {type(error).__name__}: {error}".rstrip(": "), reason="StateUnreachable", retryable=True
        ) from error
    if not answer.is_success:
        where = f" and sends us to {answer.headers['Location'][:200]}" if "Location" in answer.headers else ""
        raise RecoveryError(f"POST {access.url} answers {answer.status_code}{where}: {said}".rstrip(": "), reason="StateRefused",
                            retryable=answer.status_code == STARTING)  # fmt: skip


async def _begin_of(answer: httpx.Response) -> str:
    """In one line; the rest is not read."""
    begin = b""
    async for piece in answer.aiter_raw(SAID):
        begin += piece
        if len(begin) >= SAID:
            break
    return " ".join(begin[:SAID].decode("utf-8", "replace").split())


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    """Read in a thread: the disk may hang, and then only this stands still."""
    file = await asyncio.to_thread(path.open, "rb")
    with file:
        while piece := await asyncio.to_thread(file.read, PIECE):
            yield piece


async def digest(access: Access) -> str:
    """Of the state as it is now; empty if it cannot be had. Raises nothing."""
    found = hashlib.sha256()
    try:
        await fetch(access, "", found.update)
    except CheckpointError:
        return ""
    return found.hexdigest()


class Accesses:
    """Reads the Secrets and ConfigMaps that the annotations name, as their owner allows (docs/adr/0017). What was read once does
    while the API server is away.
    """

    def __init__(self, api: client.ApiClient, timeout_s: float = TIMEOUT_S) -> None:
        self._core: Any = client.CoreV1Api(api)
        self._timeout_s = timeout_s
        self._known: dict[tuple[str, str, str], dict[str, str]] = {}

    async def of(self, api: StateApi, namespace: str, ip: str) -> Access:
        """Raises CheckpointError."""
        headers = await self._read(namespace, "Secret", api.headers) if api.headers else {}
        if bad := [name for name in headers if not TOKEN.fullmatch(name)]:
            raise _no_object(namespace, "Secret", api.headers, f"its key {bad[0][:100]!r} is no header's name")
        if bad := [name for name, value in headers.items() if not VALUE.fullmatch(value)]:
            raise _no_object(namespace, "Secret", api.headers, f"the value of its key {bad[0]!r} is no header's")
        trust = await self._read(namespace, "ConfigMap", api.ca) if api.ca else {}
        verify = self._context(namespace, api.ca, trust) if api.scheme == "https" else None
        return Access(f"{api.scheme}://{bracketed(ip)}:{api.port}{api.path}", headers, verify, api.max_bytes, self._timeout_s)

    @staticmethod
    def _context(namespace: str, name: str, trust: dict[str, str]) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cadata=trust["ca.crt"])
        except (KeyError, ValueError, ssl.SSLError) as error:
            why = "it has no key ca.crt" if isinstance(error, KeyError) else f"its ca.crt is no certificate in PEM: {error}"
            raise _no_object(namespace, "ConfigMap", name, why) from error
        context.check_hostname = False  # a pod is called by its IP, which no certificate names
        # As before Python 3.13, which refuses what `openssl req -x509` made for years: a CA without its key's identifier. Whom to
        # trust is the owner's choice, an intermediate too.
        context.verify_flags = context.verify_flags & ~ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
        return context

    async def _read(self, namespace: str, kind: str, name: str) -> dict[str, str]:
        read = self._core.read_namespaced_secret if kind == "Secret" else self._core.read_namespaced_config_map
        try:
            found = await read(name, namespace, _request_timeout=2)
        except client.ApiException as error:
            if error.status in (403, 404):
                self._known.pop((namespace, kind, name), None)
            elif known := self._known.get((namespace, kind, name)):
                return known
            raise _no_object(namespace, kind, name, f"{error.status} {error.reason}", retryable=True) from error
        except Exception as error:  # of aiohttp: the API server is away
            if known := self._known.get((namespace, kind, name)):
                return known
            raise _no_object(namespace, kind, name, repr(error), retryable=True) from error
        data = dict(found.data or {})
        if kind == "Secret":
            data = {key: base64.b64decode(value).decode("latin-1").strip("\r\n") for key, value in data.items()}
        self._known[namespace, kind, name] = data
        return data


def _no_object(namespace: str, kind: str, name: str, why: str, *, retryable: bool = False) -> CheckpointError:
    resource = "secrets" if kind == "Secret" else "configmaps"
    grant = (
        f"kubectl -n {namespace} create role reprise-{name} --verb=get --resource={resource} --resource-name={name}; "
        f"kubectl -n {namespace} create rolebinding reprise-{name} --role=reprise-{name} "
        "--serviceaccount=reprise-system:reprise-checkpointer --serviceaccount=reprise-system:reprise-health-watcher"
    )
    return CheckpointError(f"{kind} {namespace}/{name} cannot be used: {why}", reason="StateAccess", retryable=retryable,
                           remedy=f"create it, and allow us to read it: {grant}")  # fmt: skip
