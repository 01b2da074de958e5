"""The page of one stored checkpoint: what it holds. It shows arguments and paths, so it always needs a token."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, Response
from reprise.archive.inspection import by_kind, by_resource, tree
from reprise.console.access import Right
from reprise.console.asking import KINDS, CheckpointId, Part
from reprise.console.gate import Gate
from reprise.console.ports import Inspections
from reprise.console.web.pages import workload_address
from reprise.console.web.rendering import Pages
from reprise.contracts.errors import RepriseError, StoreUnavailable
from reprise.contracts.model import Workload

Container = Annotated[str, Query(max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
MOST = 500
"""Rows of a table; `reprise inspect -o wide` shows all."""


def moment(told: str) -> datetime | None:
    """As a runtime wrote it into its archive; None if that is no time."""
    try:
        return datetime.fromisoformat(told)
    except ValueError:
        return None


def router(gate: Gate, pages: Pages, inspections: Inspections | None) -> APIRouter:
    """inspections: None: this console was given no keys."""
    web = APIRouter(include_in_schema=False)

    @web.get("/workloads/{namespace}/{kind}/{name}/checkpoints/{checkpoint_id}")
    async def inspect(
        request: Request, namespace: Part, kind: Part, name: Part, checkpoint_id: CheckpointId, container: Container
    ) -> Response:
        await gate.let(request, Right("read", "checkpoints", namespace, name))
        if inspections is None:
            raise HTTPException(
                404, "this console has no keys to read checkpoints with (deploy/README.md); use `reprise inspect`"
            )
        if kind not in KINDS:
            raise HTTPException(404, f"no {kind} is protected")
        workload = Workload.model_validate({"namespace": namespace, "kind": KINDS[kind], "name": name})
        try:
            found = await inspections.inspect(workload, container, checkpoint_id)
        except StoreUnavailable as error:
            raise HTTPException(503, f"the store does not answer: {error}", {"Retry-After": "5"}) from error
        except RepriseError as error:
            raise HTTPException(422, f"{error}. To do: {error.remedy}") from error
        if found is None:
            raise HTTPException(404, f"no checkpoint {checkpoint_id} of {name} is stored any more")
        areas = [area for process in found.processes for area in process.areas]
        files = [share for share in by_resource(areas) if share.stored and not share.name.startswith("[")]
        row = {"namespace": namespace, "kind": KINDS[kind], "workload": name, "container": container}
        return pages.render(
            "inspection.html", request, nav="workloads", found=found, tree=tree(found.processes)[:MOST], kinds=by_kind(areas),
            mapped_files=files[:50], row=row, back=workload_address(row), most=MOST, taken=moment(found.checkpointed_at),
        )  # fmt: skip

    return web
