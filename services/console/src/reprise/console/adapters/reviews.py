"""Kubernetes vouches for tokens (TokenReview) and says what their owner may do (SubjectAccessReview): rights are its RBAC's."""

import asyncio
from typing import Any

from kubernetes.aio import client
from reprise.console.access import Denied, Right, Unavailable, Who, claims

TIMEOUT_S = 5
AT_ONCE = 8


class ReviewedAccounts:
    """Implements ports.Accounts. audience: whom tokens must be meant for; empty: the API server itself."""

    def __init__(self, api: client.ApiClient, audience: str) -> None:
        self._authentication: Any = client.AuthenticationV1Api(api)
        self._authorization: Any = client.AuthorizationV1Api(api)
        self._audience = audience
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def identify(self, token: str) -> Who:
        spec = client.V1TokenReviewSpec(token=token, audiences=[self._audience] if self._audience else None)
        status = await self._ask(self._authentication.create_token_review, client.V1TokenReview(spec=spec))
        if not status.authenticated:
            meant = f"; it must be meant for {self._audience}" if self._audience else ""
            raise Denied(f"Kubernetes does not know this token{meant}")
        # An authenticator that knows no audiences leaves the list empty: then the token is the API server's own.
        if self._audience and self._audience not in (status.audiences or []):
            raise Denied(f"the token is not meant for {self._audience}")
        expires = claims(token).get("exp", 0)
        groups = frozenset(status.user.groups or [])
        return Who(status.user.username, groups, "kubernetes", float(expires) if isinstance(expires, int | float) else 0)

    async def allowed(self, who: Who, right: Right) -> bool:
        about = client.V1ResourceAttributes(
            group="reprise.dev", resource=right.resource, verb=right.verb, namespace=right.namespace or None,
            name=right.name or None,
        )  # fmt: skip
        spec = client.V1SubjectAccessReviewSpec(user=who.user, groups=sorted(who.groups), resource_attributes=about)
        review = client.V1SubjectAccessReview(spec=spec)
        status = await self._ask(self._authorization.create_subject_access_review, review)
        return bool(status.allowed)

    async def _ask(self, call: Any, body: Any) -> Any:
        try:
            async with self._slots:
                return (await call(body, _request_timeout=TIMEOUT_S)).status
        except (client.ApiException, OSError, TimeoutError) as error:
            raise Unavailable(f"the API server does not review tokens: {getattr(error, 'reason', None) or error!r}") from error
