"""Several who vouch for tokens as one, and what they said remembered for a moment."""

import hashlib
import time
from collections import OrderedDict
from typing import TypeVar

from reprise.console.access import Denied, Right, Who, claims, plausible
from reprise.console.ports import Accounts

REMEMBERED_S = 20.0
"""How long a token that was revoked, or a right that was taken away, still counts."""
MOST = 1000
T = TypeVar("T", Who, bool)


class Issuers:
    """Implements ports.Accounts: each token is for whoever it says has issued it. others: for all other tokens."""

    def __init__(self, named: dict[str, Accounts], others: Accounts | None) -> None:
        self._named, self._others = named, others

    async def identify(self, token: str) -> Who:
        if not plausible(token):
            raise Denied("this is no token")
        chosen = self._named.get(str(claims(token).get("iss", ""))) or self._others
        if chosen is None:
            raise Denied("nobody here vouches for tokens of this issuer")
        return await chosen.identify(token)

    async def allowed(self, who: Who, right: Right) -> bool:
        chosen = self._named.get(who.via) or self._others
        return chosen is not None and await chosen.allowed(who, right)


class Remembering:
    """Implements ports.Accounts. Tokens are remembered by their digest; what was refused is not."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._known: OrderedDict[object, tuple[float, Who | bool]] = OrderedDict()

    async def identify(self, token: str) -> Who:
        name = hashlib.sha256(token.encode()).digest()
        known = self._recall(name)
        who = known if isinstance(known, Who) else self._keep(name, await self._accounts.identify(token))
        if who.expired():
            raise Denied("the token has expired")
        return who

    async def allowed(self, who: Who, right: Right) -> bool:
        known = self._recall((who, right))
        if known is True:
            return True
        may = await self._accounts.allowed(who, right)
        return self._keep((who, right), may) if may else False

    def _recall(self, name: object) -> Who | bool | None:
        until, known = self._known.get(name, (0.0, None))
        return known if time.monotonic() < until else None

    def _keep(self, name: object, known: T) -> T:
        self._known[name] = (time.monotonic() + REMEMBERED_S, known)
        self._known.move_to_end(name)
        while len(self._known) > MOST:
            self._known.popitem(last=False)
        return known
