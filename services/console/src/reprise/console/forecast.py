"""REST: what would happen to what a node runs if the node were lost or drained. The node's page shows the same."""

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from reprise.console.api import AWAY
from reprise.console.asking import NodeName
from reprise.console.web.pages import Views
from reprise.console.web.whatif import Fate

Outcome = Literal["continues", "slower", "stays"]
OUTCOMES: dict[str, Outcome] = {"ok": "continues", "warn": "slower", "bad": "stays"}


class ForecastRow(BaseModel):
    """Of one protected container on the node."""

    namespace: str
    kind: str
    workload: str
    container: str
    outcome: Annotated[
        Outcome, Field(description="of a loss. slower: a checkpoint is fetched first; stays: it would not come back, or blank")
    ]
    to: Annotated[str, Field(description="the node that it would continue on; empty: chosen then, or none")]
    because: str
    checkpoint_id: str | None
    back_s: Annotated[float | None, Field(description="an estimate: until it serves again; null: it would not")]
    lost_s: Annotated[float | None, Field(description="of a loss: the work since its recovery point; a drain loses none")]


class Forecast(BaseModel):
    """decided: the restorer itself told; else it is estimated from what the events told."""

    node: str
    decided: bool
    workloads: list[ForecastRow]


def router(views: Views) -> APIRouter:
    api = APIRouter(prefix="/api/v1")

    @api.get("/nodes/{name}/forecast", responses={404: {"description": "no event has told of such a node"}, **AWAY})
    async def forecast(name: NodeName) -> Forecast:
        """What would happen to each protected container on this node if the node were lost or drained now, worst first."""
        told = await views.node(name)
        return Forecast(node=name, decided=bool(told["planned"]), workloads=[_row(fate) for fate in told["fates"]])

    return api


def _row(fate: Fate) -> ForecastRow:
    row = fate.workload
    return ForecastRow(
        namespace=row["namespace"], kind=row["kind"], workload=row["workload"], container=row["container"],
        outcome=OUTCOMES[fate.tone], to=fate.to, because=fate.what,
        checkpoint_id=row["checkpoint"]["id"] if row["checkpoint"] else None, back_s=fate.back_s, lost_s=fate.lost_s,
    )  # fmt: skip
