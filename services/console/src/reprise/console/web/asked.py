"""Pages that ask before anything is done: what it will do, then a form that says yes. Without JavaScript, too."""

from typing import Annotated, Literal

from fastapi import APIRouter, Form, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from reprise.console.asking import ID, Asking, CheckpointId, NodeName, Part
from reprise.console.ledger import Ledger
from reprise.console.model import new_id
from reprise.console.web import asks
from reprise.console.web.pages import Views, node_list, workload_address
from reprise.console.web.rendering import Pages
from reprise.console.workloads import status

Operation = Literal["checkpoint", "move"]
NodeOperation = Literal["drain", "undrain"]
Id = Annotated[str, Form(pattern=f"^{ID}$")]
To = Annotated[str, Form(max_length=253, pattern=r"^[a-z0-9.-]*$")]


def router(ledger: Ledger, pages: Pages, asking: Asking) -> APIRouter:
    web = APIRouter(include_in_schema=False)
    views = Views(ledger)

    @web.get("/workloads/{namespace}/{kind}/{name}/{operation}")
    async def ask(request: Request, namespace: Part, kind: Part, name: Part, operation: Operation) -> Response:
        rows = [status(row) for row in await asking.workload(request, namespace, kind, name)]
        nodes = node_list(await views.statuses(), await ledger.nodes()) if operation == "move" else []
        choices = [node["name"] for node in nodes if not node["gone"] and node["name"] != rows[0]["node"]]
        question = asks.about_workload(operation, rows)
        back = workload_address(rows[0])
        return pages.render("ask.html", request, nav="workloads", question=question, choices=choices, back=back, id=new_id())

    @web.post("/workloads/{namespace}/{kind}/{name}/{operation}")
    async def agreed(
        request: Request, namespace: Part, kind: Part, name: Part, operation: Operation, id: Id, to: To = ""
    ) -> Response:
        rows = await asking.workload(request, namespace, kind, name)
        await asking.ask_workload(request, operation, rows[0], id, to=to if operation == "move" else "")
        return RedirectResponse(f"{workload_address(rows[0])}#asked", 303)

    @web.get("/workloads/{namespace}/{kind}/{name}/checkpoints/{checkpoint}/restore")
    async def ask_restore(request: Request, namespace: Part, kind: Part, name: Part, checkpoint: CheckpointId) -> Response:
        rows = [status(row) for row in await asking.workload(request, namespace, kind, name)]
        question = asks.about_restore(rows[0], await asking.checkpoint(rows[0], checkpoint))
        back = workload_address(rows[0])
        return pages.render("ask.html", request, nav="workloads", question=question, choices=[], back=back, id=new_id())

    @web.post("/workloads/{namespace}/{kind}/{name}/checkpoints/{checkpoint}/restore")
    async def agreed_restore(
        request: Request, namespace: Part, kind: Part, name: Part, checkpoint: CheckpointId, id: Id
    ) -> Response:
        rows = await asking.workload(request, namespace, kind, name)
        chosen = await asking.checkpoint(rows[0], checkpoint)
        await asking.ask_workload(request, "restore", rows[0], id, checkpoint_id=chosen["checkpoint_id"])
        return RedirectResponse(f"{workload_address(rows[0])}#asked", 303)

    @web.get("/nodes/{name}/{operation}")
    async def ask_node(request: Request, name: NodeName, operation: NodeOperation) -> Response:
        await asking.node(request, name)
        node = next((row for row in node_list(await views.statuses(), await ledger.nodes()) if row["name"] == name), None)
        if node is None:
            raise HTTPException(404, f"nothing was heard of a node {name}")
        question = asks.about_node(operation, name, node["runs"])
        return pages.render("ask.html", request, nav="nodes", question=question, choices=[], back=f"/nodes/{name}", id=new_id())

    @web.post("/nodes/{name}/{operation}")
    async def agreed_node(request: Request, name: NodeName, operation: NodeOperation, id: Id) -> Response:
        await asking.node(request, name)
        await asking.ask_node(request, operation, name, id)
        return RedirectResponse(f"/nodes/{name}#asked", 303)

    return web
