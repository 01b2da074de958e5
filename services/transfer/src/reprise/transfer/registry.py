"""The node-local, read-only OCI registry: stored checkpoints as images, for export, on 127.0.0.1 only and by a token.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

import asyncio
import hmac
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

from reprise.archive.images import lineage_of
from reprise.archive.manifest import Manifest
from reprise.archive.oci import MANIFEST_TYPE, digest
from reprise.archive.repository import Repository
from reprise.contracts.errors import NotStored, RepriseError
from reprise.runtime.telemetry import log
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
REFERENCE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,127}|sha256:[0-9a-f]{64}")
"""A checkpoint's id, or a digest."""


def app(repository: Repository, token: str) -> Starlette:
    """The registry's ASGI app. token: whoever does not show it gets nothing: an image is a process's memory.

    `<namespace>/<kind>-<name>/<container>:<checkpoint id>`
    """
    if not token:
        raise ValueError("a registry without a token would give every process's memory to anybody on the node")

    async def authorize(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
        shown = request.headers.get("Authorization", "")
        if not hmac.compare_digest(shown.encode(), f"Bearer {token}".encode()):
            refused = problem(401, "UNAUTHORIZED", "show the registry's token (reprise-registry)")
            refused.headers["WWW-Authenticate"] = 'Bearer realm="reprise"'
            return refused
        return await proceed(request)

    async def version(_: Request) -> Response:
        return JSONResponse({})

    async def manifest(request: Request) -> Response:
        namespace, workload, container, reference = request.path_params.values()  # in the path's order
        if not _are_names(namespace, workload, container, of=reference):
            return problem(404, "NAME_UNKNOWN", "no checkpoint is called that")
        try:
            body = await asyncio.to_thread(repository.image, lineage_of(namespace, workload, container), reference)
        except RepriseError as error:
            return _unavailable(error)
        if body is None:
            return problem(404, "MANIFEST_UNKNOWN", f"there is no checkpoint {reference} of {namespace}/{workload}/{container}")
        return Response(body, media_type=MANIFEST_TYPE, headers={"Docker-Content-Digest": digest(body)})

    async def blob(request: Request) -> Response:
        namespace, workload, container, wanted = request.path_params.values()
        if not _are_names(namespace, workload, container, of=wanted):
            return problem(404, "BLOB_UNKNOWN", "no blob is called that")
        headers = {"Docker-Content-Digest": wanted}
        try:
            found = await asyncio.to_thread(repository.blob, lineage_of(namespace, workload, container), wanted)
            parts = repository.read_archive(found) if isinstance(found, Manifest) and request.method == "GET" else iter(())
        except RepriseError as error:
            return _unavailable(error)
        if isinstance(found, bytes):
            return Response(found, media_type="application/octet-stream", headers=headers)
        if found is None:
            return problem(404, "BLOB_UNKNOWN", wanted)
        headers["Content-Length"] = str(found.size)
        if request.method == "HEAD":
            return Response(media_type="application/octet-stream", headers=headers)
        return StreamingResponse(_stream(parts), media_type="application/octet-stream", headers=headers)

    api = Starlette(
        routes=[
            Route("/v2/", version),
            Route("/v2/{namespace}/{workload}/{container}/manifests/{reference}", manifest),
            Route("/v2/{namespace}/{workload}/{container}/blobs/{wanted}", blob),
        ],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=authorize)],
    )
    api.router.redirect_slashes = False
    return api


def _are_names(*names: str, of: str) -> bool:
    """Only these reach the store's keys: nothing that leads elsewhere, such as `..`."""
    return all(NAME.fullmatch(name) and ".." not in name for name in names) and bool(REFERENCE.fullmatch(of)) and ".." not in of


async def _stream(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Off the event loop, one chunk ahead at most. A damaged archive breaks the transfer off: the pull fails."""
    while (data := await asyncio.to_thread(next, chunks, None)) is not None:
        yield data


def problem(status: int, code: str, message: str) -> Response:
    """An error in the distribution specification's form."""
    body = json.dumps({"errors": [{"code": code, "message": message}]})
    return Response(body, status_code=status, media_type="application/json")


def _unavailable(error: RepriseError) -> Response:
    log().warning("the registry cannot answer", error=str(error))
    if isinstance(error, NotStored):
        return problem(404, "BLOB_UNKNOWN", str(error))
    return problem(503, "UNAVAILABLE", str(error))
