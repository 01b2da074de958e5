"""Which endpoints there are, each served by a consumer of its own: one that is down or slow holds up no other."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import yaml
from nats.errors import Error as NatsError
from prometheus_client import Gauge
from pydantic import ValidationError
from reprise.runtime.bus import Bus, Delivery, Relay
from reprise.runtime.kv import Bucket
from reprise.runtime.telemetry import log
from reprise.webhook import decide
from reprise.webhook.model import Disabled, Endpoint, Endpoints

CONCURRENCY = 8
DISABLED = Gauge("reprise_webhook_disabled", "1 while an endpoint is disabled because it said 410 Gone", ["endpoint"])

Deliver = Callable[[Endpoint, Delivery], Awaitable[None]]


def read(file: Path) -> tuple[Endpoint, ...]:
    """The endpoints of the file. Raises ValueError, which says where and what, and tells no secret."""
    try:
        return Endpoints.model_validate(yaml.safe_load(file.read_text()) or {}).endpoints
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from error
    except yaml.MarkedYAMLError as error:
        raise ValueError(f"{file} is not YAML: {error.problem} {error.problem_mark or ''}") from None
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()[:5])
        raise ValueError(f"{file}: {told}") from None


class Following:
    """Serves what the file says, without what said 410, and follows both as they change."""

    def __init__(
        self, bus: Bus, records: Bucket[Disabled], file: Path, deliver: Deliver, *, attempts: int, reload_s: float
    ) -> None:
        self._bus, self._records, self._file, self._deliver = bus, records, file, deliver
        self._attempts, self._reload_s = attempts, reload_s
        self._known: tuple[Endpoint, ...] = ()
        self._disabled: dict[str, Disabled] = {}
        self._serving: dict[Endpoint, asyncio.Task[None]] = {}
        self._told = ""
        self.read = False
        """Whether the file could be read once."""

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._look()
                if self._bus.connected:
                    await self._ask()
                    self._follow()
                await asyncio.sleep(self._reload_s)
        finally:
            for task in self._serving.values():
                task.cancel()
            await asyncio.gather(*self._serving.values(), return_exceptions=True)
            self._serving.clear()

    def _look(self) -> None:
        """The last valid endpoints stay in force."""
        try:
            self._known, self.read, problem = read(self._file), True, ""
        except ValueError as error:
            problem = str(error)
        if problem and problem != self._told:
            log().error("endpoints cannot be read, the last valid ones stay in force", problem=problem, see="docs/webhooks.md")
        self._told = problem

    async def _ask(self) -> None:
        """If NATS does not say, what was known."""
        try:
            self._disabled = {entry.key: entry.value for entry in await self._records.entries()}
        except (NatsError, TimeoutError):
            log().debug("cannot ask which endpoints are disabled")

    def _follow(self) -> None:
        wanted = set()
        for endpoint in self._known:
            disabled = decide.is_disabled(endpoint, self._disabled.get(endpoint.name))
            DISABLED.labels(endpoint.name).set(disabled)
            if not disabled:
                wanted.add(endpoint)
        for endpoint in set(self._serving) - wanted:
            self._serving.pop(endpoint).cancel()
            log().info("endpoint is not served any more", endpoint=endpoint.name)
        for endpoint in wanted - set(self._serving):
            relay = Relay(
                f"webhook-{endpoint.name}", endpoint.subjects, partial(self._deliver, endpoint), CONCURRENCY, self._attempts
            )
            self._serving[endpoint] = asyncio.create_task(self._bus.serve(relay), name=relay.consumer)
            log().info("endpoint is served", endpoint=endpoint.name, subjects=endpoint.subjects)
