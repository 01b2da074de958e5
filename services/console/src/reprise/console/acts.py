"""REST that changes something: each operation by a token with the role operate, and what was asked for so far."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from reprise.console.asking import Asking, CheckpointId, NodeName, Part
from reprise.console.model import new_id

REFUSED: dict[int | str, dict[str, object]] = {
    401: {"description": "this needs a token"}, 403: {"description": "the token's owner may not, or a browser was tricked"},
    404: {"description": "nothing protected has this name"}, 409: {"description": "it could not be begun"},
    503: {"description": "NATS, the database, the API server or the issuer does not answer; nothing was done"},
}  # fmt: skip


class Begun(BaseModel):
    """id: of the operation; its events and the ledger name it by this."""

    id: str


class MoveBody(BaseModel):
    to: Annotated[str, Field(max_length=253, pattern=r"^([a-z0-9][a-z0-9.-]*)?$")] = ""
    """A node; empty: wherever the planner chooses."""


def router(asking: Asking) -> APIRouter:
    api = APIRouter(prefix="/api/v1")

    @api.post("/workloads/{namespace}/{kind}/{name}/checkpoint", status_code=202, responses=REFUSED)
    async def checkpoint(request: Request, namespace: Part, kind: Part, name: Part) -> Begun:
        """Take a checkpoint of it now."""
        rows = await asking.workload(request, namespace, kind, name)
        begun = Begun(id=new_id())
        await asking.ask_workload(request, "checkpoint", rows[0], begun.id)
        return begun

    @api.post("/workloads/{namespace}/{kind}/{name}/move", status_code=202, responses=REFUSED)
    async def move(request: Request, namespace: Part, kind: Part, name: Part, body: MoveBody | None = None) -> Begun:
        """Move it to another node, with all that it did."""
        rows = await asking.workload(request, namespace, kind, name)
        begun = Begun(id=new_id())
        await asking.ask_workload(request, "move", rows[0], begun.id, to=body.to if body else "")
        return begun

    @api.post("/workloads/{namespace}/{kind}/{name}/checkpoints/{checkpoint}/restore", status_code=202, responses=REFUSED)
    async def restore(request: Request, namespace: Part, kind: Part, name: Part, checkpoint: CheckpointId) -> Begun:
        """Have it go on from what it was at this checkpoint, in its place. What it did since is given up."""
        rows = await asking.workload(request, namespace, kind, name)
        chosen = await asking.checkpoint(rows[0], checkpoint)
        begun = Begun(id=new_id())
        await asking.ask_workload(request, "restore", rows[0], begun.id, checkpoint_id=chosen["checkpoint_id"])
        return begun

    @api.post("/nodes/{name}/{operation}", status_code=202, responses=REFUSED)
    async def node(request: Request, name: NodeName, operation: Literal["drain", "undrain"]) -> Begun:
        """Cordon it, upon which what is protected there is moved away; or let it take pods again."""
        await asking.node(request, name)
        begun = Begun(id=new_id())
        await asking.ask_node(request, operation, name, begun.id)
        return begun

    return api
