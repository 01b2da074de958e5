"""The console's web application: pages, REST API, its OpenAPI document."""

from urllib.parse import urlencode

import psycopg
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exception_handlers import http_exception_handler, request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.security import HTTPBearer
from psycopg_pool import PoolTimeout
from reprise.console import acts, api, forecast
from reprise.console.asking import Asking
from reprise.console.gate import SAFE, Gate
from reprise.console.ledger import Ledger
from reprise.console.ports import Annotations, Inspections, Planner
from reprise.console.stream import Tails
from reprise.console.web import asked, inspected, pages, session
from reprise.console.web.rendering import Pages
from starlette.exceptions import HTTPException

AWAY = "the database does not answer; events wait in the stream meanwhile, none is lost"
TOLD = HTTPBearer(auto_error=False, description="a token of a Kubernetes service account, or of the OpenID Connect issuer")
"""For the OpenAPI document; the gate reads the header by itself."""


def app(
    ledger: Ledger, tails: Tails, rendering: Pages, gate: Gate, asking: Asking, audience: str = "",
    planner: Planner | None = None, inspections: Inspections | None = None, annotations: Annotations | None = None,
) -> FastAPI:  # fmt: skip
    """audience: of the tokens that Kubernetes vouches for; empty if it does not. planner, inspections, annotations: None:
    nobody tells.
    """
    made = FastAPI(title="Reprise console", version="1", openapi_url="/api/v1/openapi.json", docs_url=None, redoc_url=None)
    reading = [Depends(gate.reader)] if gate.anonymous else [Depends(TOLD), Depends(gate.reader)]
    made.include_router(api.router(ledger, tails, annotations), dependencies=reading)
    made.include_router(forecast.router(pages.Views(ledger, planner)), dependencies=reading)
    made.include_router(pages.router(ledger, rendering, planner, annotations), dependencies=[Depends(gate.reader)])
    made.include_router(acts.router(asking), dependencies=[Depends(TOLD), Depends(gate.reader)])
    made.include_router(asked.router(ledger, rendering, asking), dependencies=[Depends(gate.reader)])
    made.include_router(inspected.router(gate, rendering, inspections), dependencies=[Depends(gate.reader)])
    made.include_router(pages.statics())
    made.include_router(session.router(gate, rendering, audience))

    @made.exception_handler(psycopg.OperationalError)
    @made.exception_handler(psycopg.errors.UndefinedTable)
    @made.exception_handler(PoolTimeout)
    async def away(request: Request, _: Exception) -> Response:
        return await refused(request, HTTPException(503, AWAY, {"Retry-After": "5"}))

    @made.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        if _is_api(request):
            return await http_exception_handler(request, error)
        if error.status_code == 401 and request.method in SAFE:
            following = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"/login?{urlencode({'next': following})}", 303)
        return rendering.render("error.html", request, error.status_code, code=error.status_code, detail=error.detail)

    @made.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> Response:
        if _is_api(request):
            return await request_validation_exception_handler(request, error)
        told = "; ".join(f"{each['loc'][-1]}: {each['msg']}" for each in error.errors())
        return rendering.render("error.html", request, 422, code=422, detail=told)

    return made


def _is_api(request: Request) -> bool:
    return request.url.path.startswith("/api/")
