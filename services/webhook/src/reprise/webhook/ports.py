"""What webhook needs from outside."""

from typing import Protocol

from reprise.webhook.model import Answer, Disabled, Endpoint


class Sender(Protocol):
    async def post(self, endpoint: Endpoint, headers: dict[str, str], body: bytes) -> Answer:
        """What it answered, or why it did not; raises nothing."""
        ...


class Records(Protocol):
    """Which endpoints are disabled, as all replicas know it: a key-value bucket."""

    async def put(self, key: str, value: Disabled) -> int: ...
