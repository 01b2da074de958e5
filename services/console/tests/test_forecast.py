"""`GET /api/v1/nodes/NODE/forecast`: what the node's page shows, for programs."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI, HTTPException
from reprise.console.forecast import router
from reprise.console.web.whatif import Fate

ROW: dict[str, Any] = {
    "namespace": "shop", "kind": "Deployment", "workload": "cart", "container": "app", "checkpoint": {"id": "ck1"},
}  # fmt: skip


class Views:
    """Of one node that runs two workloads."""

    async def node(self, name: str) -> dict[str, Any]:
        if name != "n1":
            raise HTTPException(404, f"no event has told of a node {name}")
        blank = Fate(ROW | {"workload": "db", "checkpoint": None}, "", "bad", "no checkpoint is stored", None, None)
        return {"fates": [blank, Fate(ROW, "n2", "ok", "n2 holds it ready", 6.7, 4.0)], "planned": True}


@pytest.fixture
def console() -> httpx.AsyncClient:
    made = FastAPI()
    made.include_router(router(Views()))  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=httpx.ASGITransport(made), base_url="http://console")


async def test_each_workload_has_its_fate_and_the_reason(console: httpx.AsyncClient) -> None:
    told = (await console.get("/api/v1/nodes/n1/forecast")).json()
    assert (told["node"], told["decided"]) == ("n1", True)
    blank, warm = told["workloads"]
    assert (blank["workload"], blank["outcome"], blank["checkpoint_id"], blank["back_s"]) == ("db", "stays", None, None)
    assert (warm["outcome"], warm["to"], warm["back_s"], warm["lost_s"]) == ("continues", "n2", 6.7, 4.0)


async def test_a_node_that_is_not_known_is_not_found(console: httpx.AsyncClient) -> None:
    assert (await console.get("/api/v1/nodes/n9/forecast")).status_code == 404
