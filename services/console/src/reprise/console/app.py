"""The console's web application: pages, REST API, its OpenAPI document."""

import psycopg
from fastapi import FastAPI, Request, Response
from fastapi.exception_handlers import http_exception_handler, request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from psycopg_pool import PoolTimeout
from reprise.console import api
from reprise.console.ledger import Ledger
from reprise.console.stream import Tails
from reprise.console.web import pages
from reprise.console.web.rendering import Pages
from starlette.exceptions import HTTPException

AWAY = "the database does not answer; events wait in the stream meanwhile, none is lost"


def app(ledger: Ledger, tails: Tails, rendering: Pages) -> FastAPI:
    """Nothing that changes state is in it, so it asks for no token."""
    made = FastAPI(title="Reprise console", version="1", openapi_url="/api/v1/openapi.json", docs_url=None, redoc_url=None)
    made.include_router(api.router(ledger, tails))
    made.include_router(pages.router(ledger, rendering))

    @made.exception_handler(psycopg.OperationalError)
    @made.exception_handler(psycopg.errors.UndefinedTable)
    @made.exception_handler(PoolTimeout)
    async def away(request: Request, _: Exception) -> Response:
        return await refused(request, HTTPException(503, AWAY, {"Retry-After": "5"}))

    @made.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        if _is_api(request):
            return await http_exception_handler(request, error)
        return rendering.render("error.html", error.status_code, code=error.status_code, detail=error.detail)

    @made.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> Response:
        if _is_api(request):
            return await request_validation_exception_handler(request, error)
        told = "; ".join(f"{each['loc'][-1]}: {each['msg']}" for each in error.errors())
        return rendering.render("error.html", 422, code=422, detail=told)

    return made


def _is_api(request: Request) -> bool:
    return request.url.path.startswith("/api/")
