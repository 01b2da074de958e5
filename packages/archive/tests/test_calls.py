"""What a store's refusal or silence means, what is tried again, and what opens the circuit."""

import ssl
from collections.abc import Callable, Iterator

import pytest
import stamina
import urllib3
from minio.error import InvalidResponseError, S3Error, ServerError
from prometheus_client import REGISTRY
from reprise.archive.calls import Calls
from reprise.archive.circuit import Circuit
from reprise.archive.s3_errors import CODES, Transient, translate
from reprise.contracts.errors import NotStored, StoreUnavailable
from urllib3.exceptions import NewConnectionError, ProtocolError, ReadTimeoutError, SSLError


class Answer:
    def __init__(self, status: int) -> None:
        self.status = status


def told(code: str, status: int = 400) -> S3Error:
    return S3Error(Answer(status), code, "so it says", "/bucket/key", "1", "2")  # type: ignore[arg-type]


POOL = urllib3.HTTPConnectionPool("store")
UNVERIFIED = ssl.SSLCertVerificationError(1, "certificate verify failed")
UNVERIFIED.verify_message = "self-signed certificate"


@pytest.mark.parametrize(
    ("error", "reason", "again"),
    [
        (told("InvalidAccessKeyId", 403), "CredentialsRefused", False),
        (told("SignatureDoesNotMatch", 403), "CredentialsRefused", False),
        (told("SomethingNew", 403), "CredentialsRefused", False),
        (told("RequestTimeTooSkewed", 403), "ClockSkew", False),
        (told("NoSuchBucket", 404), "NoBucket", False),
        (told("XMinioStorageFull", 507), "NoSpace", False),
        (ServerError("server failed", 507), "NoSpace", False),
        (told("SlowDown", 503), "Throttled", True),
        (InvalidResponseError(429, "text/html", "slow down"), "Throttled", True),
        (told("BadDigest"), "DamagedInTransit", True),
        (told("InternalError", 500), "ServerError", True),
        (InvalidResponseError(502, "text/html", "a proxy's page"), "ServerError", True),
        (told("ConditionalRequestConflict", 409), "Conflict", True),
        (told("NotImplemented", 501), "NotSupported", False),
        (told("EntityTooLarge", 400), "Refused", False),
        (InvalidResponseError(400, "text/plain", "Client sent an HTTP request to an HTTPS server."), "WantsTls", False),
        (SSLError(UNVERIFIED), "CertificateNotTrusted", False),
        (SSLError(ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]")), "NoTls", False),
        (ReadTimeoutError(POOL, "/", "read timed out"), "TimedOut", True),
        (NewConnectionError(POOL, "refused"), "Unreachable", True),
        (ProtocolError("Connection aborted.", ConnectionResetError()), "Unreachable", True),
    ],
)  # fmt: skip
def test_every_refusal_is_told_apart_and_names_the_object_and_a_remedy(error: Exception, reason: str, again: bool) -> None:
    found = translate(error, key="archives/x", endpoint="store:9000")
    assert isinstance(found, StoreUnavailable)
    assert found.reason == reason
    assert isinstance(found, Transient) is again
    assert found.subject == "archives/x"
    assert found.remedy
    assert "{" not in str(found)


def test_what_is_missing_is_not_stored() -> None:
    assert isinstance(translate(told("NoSuchKey", 404), key="x", endpoint="s"), NotStored)


def test_a_fault_of_our_own_is_not_taken_for_the_stores() -> None:
    assert translate(KeyError("x"), key="x", endpoint="s") is None


def test_every_meaning_can_be_told() -> None:
    for code in CODES:
        assert translate(told(code), key="x", endpoint="s")


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=4):
        yield


@pytest.fixture
def calls() -> Calls:
    return Calls("store:9000", Circuit(failures=6))


class Server:
    """Answers with these in turn, then with "data"."""

    def __init__(self, *answers: Exception) -> None:
        self.answers, self.asked = list(answers), 0

    def __call__(self) -> str:
        self.asked += 1
        if self.answers:
            raise self.answers.pop(0)
        return "data"


def test_what_may_help_to_try_again_is_tried_again(calls: Calls) -> None:
    server = Server(told("SlowDown", 503), ConnectionResetError())
    assert calls.run("get", "key", server) == "data"
    assert server.asked == 3


@pytest.mark.parametrize("error", [told("AccessDenied", 403), told("XMinioStorageFull", 507), told("NoSuchKey", 404)])
def test_what_cannot_help_is_tried_once_and_keeps_the_circuit_closed(calls: Calls, error: Exception) -> None:
    for _ in range(10):
        server = Server(error)
        with pytest.raises((StoreUnavailable, NotStored)):
            calls.run("get", "key", server)
        assert server.asked == 1
    assert calls.circuit.state == "closed"


def away() -> Exception:
    return NewConnectionError(POOL, "refused")


def test_once_the_circuit_is_open_nobody_asks_and_the_error_says_why(calls: Calls) -> None:
    server = Server(*(away() for _ in range(100)))
    with pytest.raises(StoreUnavailable, match="does not answer"):
        calls.run("get", "key", server)
    with pytest.raises(StoreUnavailable) as closed:
        calls.run("get", "key", server)
    assert server.asked == 6
    assert (closed.value.reason, closed.value.retryable) == ("CircuitOpen", True)
    assert "does not answer" in str(closed.value)


def test_a_check_is_asked_even_so_and_its_answer_closes_the_circuit(calls: Calls) -> None:
    for _ in range(6):
        calls.circuit.failed()
    assert calls.once("check", "bucket", Server()) == "data"
    assert calls.run("get", "key", Server()) == "data"


def test_requests_are_counted_by_operation_and_outcome(calls: Calls) -> None:
    def count(outcome: str) -> float:
        labels = {"operation": "unit", "outcome": outcome}
        return REGISTRY.get_sample_value("reprise_store_requests_total", labels) or 0.0

    act: Callable[[], str] = Server(told("SlowDown", 503))
    before = count("ok"), count("Throttled")
    calls.run("unit", "key", act)
    assert (count("ok") - before[0], count("Throttled") - before[1]) == (1, 1)
    assert REGISTRY.get_sample_value("reprise_store_circuit", {"reprise_store_circuit": "closed"}) == 1
