"""An OpenID Connect issuer for tests: what it publishes, over HTTP, and tokens that it signs."""

import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi import FastAPI, HTTPException

URL = "https://id.test"


class Issuer:
    """app: its two documents. down: it does not answer."""

    def __init__(self, url: str = URL) -> None:
        self.url, self.down = url, False
        self.asked = 0
        self._keys: dict[str, rsa.RSAPrivateKey] = {}
        self.rotate("k1")
        self.app = FastAPI()

        @self.app.get("/.well-known/openid-configuration")
        async def about() -> dict[str, str]:
            self.asked += 1
            if self.down:
                raise HTTPException(503)
            return {"issuer": url, "jwks_uri": f"{url}/keys"}

        @self.app.get("/keys")
        async def keys() -> dict[str, Any]:
            return {"keys": [self._published(name) for name in self._keys]}

    def rotate(self, name: str) -> None:
        """Another key, instead of those before."""
        self._keys = {name: rsa.generate_private_key(65537, 2048)}

    def token(self, user: str = "ada", *groups: str, name: str = "", lives_s: float = 600, **claims: Any) -> str:
        """name: of the key that it says it is signed by."""
        now = time.time()
        told = {"iss": self.url, "aud": "reprise-console", "sub": user, "iat": now, "exp": now + lives_s, "groups": list(groups)}
        (known, key), *_ = self._keys.items()
        return jwt.encode(told | claims, key, "RS256", {"kid": name or known})

    def _published(self, name: str) -> dict[str, Any]:
        public = jwt.algorithms.RSAAlgorithm.to_jwk(self._keys[name].public_key(), as_dict=True)
        return public | {"kid": name, "use": "sig", "alg": "RS256"}
