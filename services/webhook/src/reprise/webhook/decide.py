"""Pure: how a delivery is signed, what an answer means, and when the next attempt is due.

An event is delivered at least once. It is given up only after its attempts, and an endpoint only when it says 410 itself. The
headers are those of Standard Webhooks 1.0 (https://www.standardwebhooks.com).
"""

import base64
import hashlib
import hmac
import ipaddress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from reprise.contracts.envelope import CONTENT_TYPE
from reprise.contracts.subjects import token
from reprise.webhook.model import Answer, Disabled, Endpoint, secret_bytes

FIRST_DELAY_S = 1.0
GROWTH = 5.0
MAX_DELAY_S = 3600.0
"""Also of what an endpoint may ask for by Retry-After."""
JITTER = 0.2
GONE = 410


@dataclass(frozen=True)
class Delivered:
    """It has it."""


@dataclass(frozen=True)
class Again:
    """It did not take it."""

    after_s: float
    why: str


@dataclass(frozen=True)
class Gone:
    """It wants no more events."""


Verdict = Delivered | Again | Gone


def verdict(answer: Answer, attempt: int, now_s: float, chance: float) -> Verdict:
    """What the answer to this attempt (from 1) means. now_s: the wall clock, for a Retry-After that is a date; chance: 0 to 1."""
    if 200 <= answer.status < 300:
        return Delivered()
    if answer.status == GONE:
        return Gone()
    asked_s = retry_after_s(answer.retry_after, now_s)
    return Again(max(backoff_s(attempt, chance), asked_s), _why(answer))


def backoff_s(attempt: int, chance: float) -> float:
    """1 s, 5 s, 25 s and so on up to an hour, each a fifth shorter or longer by chance, so that events do not come in step."""
    delay_s = min(FIRST_DELAY_S * GROWTH ** min(attempt - 1, 20), MAX_DELAY_S)
    return delay_s * (1 - JITTER + 2 * JITTER * chance)


def retry_after_s(text: str, now_s: float) -> float:
    """The seconds that a Retry-After header asks for, at most MAX_DELAY_S; 0 for none or nonsense."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        seconds = float(text[:9])
    else:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - now_s
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return min(max(seconds, 0.0), MAX_DELAY_S)


def _why(answer: Answer) -> str:
    if not answer.status:
        return answer.error
    if 300 <= answer.status < 400:
        return f"it answered {answer.status}, and redirects are not followed: write the address that it leads to"
    return f"it answered {answer.status}"


def headers(endpoint: Endpoint, event_id: str, timestamp: int, body: bytes, traceparent: str = "") -> dict[str, str]:
    """What is sent beside the body. timestamp: seconds since 1970, of this attempt; the id is the same at each."""
    webhook_id = token(event_id)[:255]  # no '.', which divides what is signed; no line break, which divides headers
    found = {
        "content-type": CONTENT_TYPE,
        "user-agent": "reprise-webhook",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(endpoint.secrets, webhook_id, timestamp, body),
    }
    return found | ({"traceparent": traceparent} if traceparent else {})


def signature(secrets: tuple[str, ...], webhook_id: str, timestamp: int, body: bytes) -> str:
    """`v1,` and the HMAC-SHA256 in base64 of `id.timestamp.body`; one by each secret, with a space between."""
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    digests = (hmac.digest(secret_bytes(secret), signed, hashlib.sha256) for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def refusal(address: str, private: bool) -> str:
    """Why nothing is sent to this IP address; empty if it may be. Link-local ones hold the cloud's own secrets: never."""
    ip = ipaddress.ip_address(address)
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip.is_link_local or ip.is_multicast or ip.is_unspecified:
        return f"{ip} is no address of a server"
    if not ip.is_global and not private:
        return f"{ip} is private: set `private: true` if it is meant"
    return ""


def url_digest(endpoint: Endpoint) -> str:
    """Names the address without telling it: it may hold a token."""
    return hashlib.sha256(endpoint.url.encode()).hexdigest()[:16]


def is_disabled(endpoint: Endpoint, record: Disabled | None) -> bool:
    """Whether it said 410 at this address; at another one it is another endpoint."""
    return record is not None and record.url_digest == url_digest(endpoint)
