"""Lets a request in, or not: who sends it, what that one may do, and whether a browser was tricked into sending it."""

from dataclasses import dataclass

from fastapi import HTTPException, Request
from reprise.console.access import Denied, Right, Unavailable, Who, bearer, same_origin
from reprise.console.ports import Accounts

COOKIE = "reprise-token"
SAFE = ("GET", "HEAD", "OPTIONS")
ANONYMOUS = Who("", via="nobody")


@dataclass(frozen=True)
class Gate:
    """accounts: None if nobody vouches for tokens here: then nothing can be changed. anonymous: whether reading needs none."""

    accounts: Accounts | None
    anonymous: bool

    async def reader(self, request: Request) -> None:
        """A dependency of every page and of REST. `request.state.who` is whoever sends it."""
        request.state.who = await self._who(request)
        if request.method not in SAFE:  # the route asks for the right, which may be in one namespace only
            self._somebody(request.state.who)
        elif not self.anonymous:
            await self.let(request, Right("read"))

    async def let(self, request: Request, right: Right) -> Who:
        """Who sends it, if that one has the right. Raises HTTPException 401, 403 or 503."""
        who: Who = request.state.who
        self._somebody(who)
        if not await self.may(who, right):
            raise HTTPException(403, f"{who.user} may not {right}")
        return who

    async def may(self, who: Who, right: Right) -> bool:
        """Raises HTTPException 503."""
        if self.accounts is None or who is ANONYMOUS:
            return False
        try:
            return await self.accounts.allowed(who, right)
        except Unavailable as error:
            raise HTTPException(503, str(error), {"Retry-After": "5"}) from error

    async def identify(self, token: str) -> Who:
        """Raises HTTPException 401 or 503."""
        if self.accounts is None:
            raise HTTPException(401, self._unknown(), {"WWW-Authenticate": "Bearer"})
        try:
            return await self.accounts.identify(token)
        except Denied as error:
            raise HTTPException(401, str(error), {"WWW-Authenticate": 'Bearer error="invalid_token"'}) from error
        except Unavailable as error:
            raise HTTPException(503, str(error), {"Retry-After": "5"}) from error

    def same_origin(self, request: Request) -> None:
        """Raises HTTPException 403 for what a page of somebody else had a browser send."""
        told = request.headers
        if not same_origin(told.get("host", ""), told.get("origin", ""), told.get("sec-fetch-site", "")):
            raise HTTPException(403, "this was not sent from a page of the console")

    async def _who(self, request: Request) -> Who:
        token = bearer(request.headers.get("authorization", ""))
        if token:
            return await self.identify(token)
        token = request.cookies.get(COOKIE, "")
        if not token:
            return ANONYMOUS
        if request.method not in SAFE:  # a browser adds the cookie by itself, whoever made it send this
            self.same_origin(request)
        try:
            return await self.identify(token)
        except HTTPException as error:
            if error.status_code == 401:
                return ANONYMOUS  # it expired: what anybody may read is shown, and the rest asks to sign in
            raise

    def _somebody(self, who: Who) -> None:
        if who is ANONYMOUS:
            raise HTTPException(401, self._unknown(), {"WWW-Authenticate": "Bearer"})

    def _unknown(self) -> str:
        if self.accounts is None:
            return "nobody vouches for tokens here: set REPRISE_TOKEN_REVIEW or REPRISE_OIDC_ISSUER"
        return "this needs a token"
