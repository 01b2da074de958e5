"""One delivery: sign, post, and do what the answer means."""

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime

from opentelemetry.trace import SpanKind, Status, StatusCode
from prometheus_client import Counter, Histogram
from reprise.contracts.errors import RepriseError
from reprise.runtime.bus import Delivery, RetryLater
from reprise.runtime.telemetry import log, span, traceparent
from reprise.webhook import decide
from reprise.webhook.model import Answer, Disabled, Endpoint
from reprise.webhook.ports import Records, Sender

HELD_S = 60.0
"""When an event of a disabled endpoint is looked at again; its consumer is not served by then."""

DELIVERIES = Counter("reprise_webhook_deliveries_total", "Deliveries by what came of them", ["endpoint", "outcome"])
SECONDS = Histogram("reprise_webhook_delivery_seconds", "Time until the endpoint answered", ["endpoint"])


class Handlers:
    """records: where a 410 is written down; clock: seconds since 1970."""

    def __init__(self, sender: Sender, records: Records, body_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self._sender, self._records, self._body_bytes, self._clock = sender, records, body_bytes, clock

    async def deliver(self, endpoint: Endpoint, delivery: Delivery) -> None:
        """Raises RetryLater if the endpoint did not take it, and RepriseError if it never can."""
        if len(delivery.payload) > self._body_bytes:
            raise RepriseError(
                f"the event has {len(delivery.payload)} bytes, and {self._body_bytes} are sent at most",
                subject=f"webhook {endpoint.name}", reason="TooLarge", remedy="raise REPRISE_WEBHOOK_BODY_BYTES",
            )  # fmt: skip
        answer = await self._post(endpoint, delivery)
        match decide.verdict(answer, delivery.attempt, self._clock(), random.random()):
            case decide.Delivered():
                DELIVERIES.labels(endpoint.name, "delivered").inc()
            case decide.Gone():
                await self._disable(endpoint)
            case decide.Again(after_s, why):
                DELIVERIES.labels(endpoint.name, "again").inc()
                raise RetryLater(
                    why, after_s=after_s, subject=f"webhook {endpoint.name}", reason="WebhookFailed",
                    remedy="mend the endpoint, then send it again from the stream REPRISE_DEAD",
                )  # fmt: skip

    async def _post(self, endpoint: Endpoint, delivery: Delivery) -> Answer:
        with span(f"POST {endpoint.name}", kind=SpanKind.CLIENT) as sent:
            sent.set_attributes({"http.request.method": "POST", "http.request.resend_count": delivery.attempt - 1})
            now = int(self._clock())
            headers = decide.headers(endpoint, delivery.attributes.id, now, delivery.payload, traceparent())
            with SECONDS.labels(endpoint.name).time():
                answer = await self._sender.post(endpoint, headers, delivery.payload)
            sent.set_attribute("http.response.status_code", answer.status)
            if not 200 <= answer.status < 300:
                sent.set_status(Status(StatusCode.ERROR, answer.error or str(answer.status)))
        return answer

    async def _disable(self, endpoint: Endpoint) -> None:
        """The event is kept for it, and so are those that follow, for as long as the stream keeps them."""
        DELIVERIES.labels(endpoint.name, "gone").inc()
        log().error("endpoint said 410 Gone: disabled until its address is another one", endpoint=endpoint.name)
        now = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="seconds")
        await self._records.put(endpoint.name, Disabled(url_digest=decide.url_digest(endpoint), at=now))
        raise RetryLater("it answered 410 Gone and is disabled", after_s=HELD_S, subject=f"webhook {endpoint.name}",
                         reason="EndpointGone", remedy=f"docs/webhooks.md says how {endpoint.name} is enabled again")  # fmt: skip
