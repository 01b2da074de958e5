"""The restorer's plans, over HTTP."""

import httpx
from pydantic import TypeAdapter, ValidationError
from reprise.contracts.plans import Planned
from reprise.runtime.telemetry import log

PLANS = TypeAdapter(tuple[Planned, ...])


class RestorerPlanner:
    """Implements ports.Planner."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def plans(self, node: str) -> tuple[Planned, ...] | None:
        try:
            answer = await self._http.get(f"/plans/{node}")
            answer.raise_for_status()
            return PLANS.validate_json(answer.content)
        except (httpx.HTTPError, ValidationError) as error:
            log().warning("the restorer does not tell its plans", node=node, error=repr(error))
            return None
