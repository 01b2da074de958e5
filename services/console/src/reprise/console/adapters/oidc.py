"""OpenID Connect: tokens of an issuer, checked here against its published keys. The issuer is asked for nothing else."""

import asyncio
import time
from typing import Any

import httpx
import jwt
from reprise.console.access import Denied, Granted, Right, Unavailable, Who, granted
from reprise.runtime.telemetry import log

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""By public keys only: a secret key, or none, would let anybody sign."""
LEEWAY_S = 30
KEYS_S = 3600.0
AGAIN_S = 10.0
"""A token that names an unknown key makes us look for new ones, at most this often."""


class OidcAccounts:
    """Implements ports.Accounts. groups: which of the issuer's groups have which role."""

    def __init__(
        self, http: httpx.AsyncClient, issuer: str, audience: str, groups: Granted, user_claim: str = "sub",
        groups_claim: str = "groups",
    ) -> None:  # fmt: skip
        self._http, self.issuer, self._audience, self._groups = http, issuer, audience, groups
        self._user_claim, self._groups_claim = user_claim, groups_claim
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_s = float("-inf")
        self._tried_s = float("-inf")
        self._lock = asyncio.Lock()

    async def identify(self, token: str) -> Who:
        try:
            name = str(jwt.get_unverified_header(token).get("kid", ""))
        except jwt.InvalidTokenError as error:
            raise Denied("this is no token") from error
        key = await self._key(name)
        try:
            claims = jwt.decode(
                token, key, algorithms=ALGORITHMS, audience=self._audience, issuer=self.issuer, leeway=LEEWAY_S,
                options={"require": ["exp", "iat", "sub", "aud", "iss"]},
            )  # fmt: skip
        except jwt.InvalidTokenError as error:
            raise Denied(f"the token does not count: {error}") from error
        groups = claims.get(self._groups_claim, [])
        names = frozenset(map(str, groups if isinstance(groups, list) else [groups]))
        return Who(str(claims.get(self._user_claim) or claims["sub"]), names, self.issuer, float(claims["exp"]))

    async def allowed(self, who: Who, right: Right) -> bool:
        return granted(who, right, self._groups)

    async def _key(self, name: str) -> jwt.PyJWK:
        async with self._lock:
            now_s = time.monotonic()
            stale = name not in self._keys or now_s - self._fetched_s > KEYS_S
            if stale and now_s - self._tried_s > AGAIN_S:
                self._tried_s = now_s
                await self._fetch()
            if not self._keys:
                raise Unavailable(f"the keys of {self.issuer} cannot be fetched")
        try:
            return self._keys[name]
        except KeyError as error:
            raise Denied(f"the token is signed by no key of {self.issuer}") from error

    async def _fetch(self) -> None:
        try:
            about = await self._json(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
            if about.get("issuer") != self.issuer:
                raise ValueError(f"it calls itself {about.get('issuer')!r}")
            found = jwt.PyJWKSet.from_dict(await self._json(str(about["jwks_uri"])))
        except (httpx.HTTPError, jwt.PyJWTError, KeyError, TypeError, ValueError) as error:
            log().warning("the issuer's keys cannot be fetched", issuer=self.issuer, error=repr(error))
            return
        # One for encryption signs nothing.
        self._keys = {key.key_id or "": key for key in found.keys if key.public_key_use in (None, "sig")}
        self._fetched_s = time.monotonic()

    async def _json(self, address: str) -> dict[str, Any]:
        answer = await self._http.get(address)
        answer.raise_for_status()
        told = answer.json()
        if not isinstance(told, dict):
            raise TypeError("not a JSON object")
        return told
