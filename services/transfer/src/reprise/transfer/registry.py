"""The node-local, read-only OCI registry: checkpoint images made of the store, on 127.0.0.1 only.

`live` is looked up anew at each request: a stale answer would bring back an older state.
Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from reprise.archive.manifest import LivePointer, Manifest
from reprise.archive.oci import MANIFEST_TYPE, digest
from reprise.archive.repository import Repository
from reprise.contracts.errors import NotStored, RepriseError
from reprise.contracts.images import LIVE_TAG
from reprise.runtime.telemetry import log
from reprise.transfer.adapters.slots import Slots


def app(repository: Repository, slots: Slots) -> FastAPI:
    """The registry's ASGI app. What this node has staged by itself is preferred where the live reference shows the same."""
    api = FastAPI(openapi_url=None)

    @api.get("/v2/")
    async def version() -> dict[str, str]:
        return {}

    @api.api_route("/v2/{namespace}/{live_id}/{container}/manifests/{reference}", methods=["GET", "HEAD"])
    async def manifest(namespace: str, live_id: str, container: str, reference: str) -> Response:
        try:
            local = await asyncio.to_thread(slots.image, namespace, live_id, container)
            if local and reference == digest(local.image):
                return Response(local.image, media_type=MANIFEST_TYPE, headers={"Docker-Content-Digest": reference})
            pointer = await asyncio.to_thread(repository.live, namespace, live_id, container)
            if local and reference == LIVE_TAG and (pointer is None or pointer.checkpoint_id == local.checkpoint_id):
                return Response(local.image, media_type=MANIFEST_TYPE, headers={"Docker-Content-Digest": digest(local.image)})
            if pointer is None:
                return problem(404, "MANIFEST_UNKNOWN", f"there is no checkpoint for {namespace}/{live_id}/{container}")
            body = await asyncio.to_thread(_manifest, repository, pointer, reference)
        except RepriseError as error:
            return _unavailable(error)
        if not isinstance(body, bytes):
            return problem(404, "MANIFEST_UNKNOWN", f"there is no {reference}")
        return Response(body, media_type=MANIFEST_TYPE, headers={"Docker-Content-Digest": digest(body)})

    @api.api_route("/v2/{namespace}/{live_id}/{container}/blobs/{wanted}", methods=["GET", "HEAD"])
    async def blob(namespace: str, live_id: str, container: str, wanted: str, request: Request) -> Response:
        headers = {"Docker-Content-Digest": wanted}
        local = await asyncio.to_thread(slots.image, namespace, live_id, container)
        here = local.blob(wanted) if local else None
        if here is not None:
            body = here if isinstance(here, bytes) else await asyncio.to_thread(here.read_bytes)
            return Response(body, media_type="application/octet-stream", headers=headers)
        try:
            # By digest alone: a pull that began before the reference moved on still finds its layer.
            found = await asyncio.to_thread(repository.blob, namespace, wanted)
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

    return api


def _manifest(repository: Repository, pointer: LivePointer, reference: str) -> bytes | Manifest | None:
    """What the live reference shows, or an image by its digest."""
    if reference == LIVE_TAG:
        return repository.image(pointer)
    return repository.blob(pointer.manifest_key.split("/")[1], reference)


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
