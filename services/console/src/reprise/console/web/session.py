"""Signing in with a browser: the token itself is the cookie, out of every script's reach, and is checked at each request."""

import time
from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Query, Request, Response
from fastapi.responses import RedirectResponse
from reprise.console.access import inside
from reprise.console.gate import COOKIE, Gate
from reprise.console.web.rendering import Pages

MOST_COOKIE = 3800
"""Browsers drop larger ones."""
SESSION_S = 12 * 3600


def router(gate: Gate, pages: Pages, audience: str) -> APIRouter:
    """audience: of the tokens that Kubernetes vouches for; empty if it does not."""
    web = APIRouter(include_in_schema=False)

    def form(request: Request, status: int, following: str, problem: str = "") -> Response:
        values = {"following": inside(following), "problem": problem, "audience": audience, "able": gate.accounts is not None}
        return pages.render("login.html", request, status, **values)

    @web.get("/login")
    async def login(request: Request, next: Annotated[str, Query(max_length=2000)] = "/") -> Response:
        return form(request, 200, next)

    @web.post("/login")
    async def enter(request: Request, token: Annotated[str, Form()] = "", next: Annotated[str, Form()] = "/") -> Response:
        gate.same_origin(request)  # else a page could sign its reader in as somebody else
        token = token.strip().removeprefix("Bearer ").strip()
        try:
            who = await gate.identify(token)
        except HTTPException as error:
            return form(request, error.status_code, next, str(error.detail))
        if len(token) > MOST_COOKIE:
            return form(request, 413, next, "the token is too long for a cookie; use it as a bearer token with REST")
        left_s = int(who.expires_at - time.time()) if who.expires_at else SESSION_S
        answer = RedirectResponse(inside(next), 303)
        answer.set_cookie(COOKIE, token, max_age=min(left_s, SESSION_S), httponly=True, samesite="lax", secure=_secure(request))
        return answer

    @web.post("/logout")
    async def leave(request: Request) -> Response:
        gate.same_origin(request)
        answer = RedirectResponse("/", 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="lax", secure=_secure(request))
        return answer

    return web


def _secure(request: Request) -> bool:
    """Behind a proxy that ends TLS, the browser's own `Origin` tells: it cannot be made to say less by whoever is in between."""
    return request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")
