"""What an S3 server's refusal or silence means: which error of ours, what the user can do, and whether to try again.

Codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html and MinIO's own, which begin with XMinio.
"""

import ssl
from dataclasses import dataclass

import urllib3
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from reprise.contracts.errors import NotStored, StoreError, StoreUnavailable


class Transient(StoreUnavailable):
    """Trying again soon may help; counted against the circuit."""


class ConditionNotMet(StoreUnavailable):
    """A conditional write found another state than it asked for. Never leaves the adapter."""


@dataclass(frozen=True)
class Meaning:
    """message and remedy may hold {endpoint} and {told}, what the server said."""

    reason: str
    message: str
    remedy: str
    again: bool = False


CREDENTIALS = Meaning(
    "CredentialsRefused", "the store refuses the credentials ({told})",
    "compare the Secret's access-key and secret-key with the store's user, and its policy for this bucket",
)  # fmt: skip
CLOCK = Meaning(
    "ClockSkew", "this machine's clock and the store's differ too much ({told})",
    "synchronise both clocks (NTP), then it works again",
)  # fmt: skip
NO_BUCKET = Meaning(
    "NoBucket", "the bucket is not there ({told})",
    "the next write makes it; if it was there before, its checkpoints are lost",
)  # fmt: skip
NO_SPACE = Meaning("NoSpace", "the store has no space left ({told})", "free or add space, or keep fewer checkpoints")
THROTTLED = Meaning("Throttled", "the store asks to slow down ({told})", "it is overloaded: checkpoint less often", again=True)
TIMED_OUT = Meaning("TimedOut", "{endpoint} does not answer in time ({told})", "is it overloaded, or the network?", again=True)
DAMAGED = Meaning(
    "DamagedInTransit", "what arrived is not what was sent ({told})", "if it stays: check network and memory", again=True
)
FAILING = Meaning("ServerError", "the store failed ({told})", "see the store's own log", again=True)
CONFLICT = Meaning("Conflict", "another write to it was under way ({told})", "nothing: it is tried again", again=True)
UNSUPPORTED = Meaning("NotSupported", "the store cannot do this ({told})", "use a store with this part of the S3 API")
AWAY = Meaning(
    "Unreachable", "{endpoint} does not answer: {told}", "is it up; are name, port and REPRISE_STORE_SECURE right?", again=True
)
UNTRUSTED = Meaning(
    "CertificateNotTrusted", "{endpoint}'s TLS certificate is not trusted ({told})",
    "set REPRISE_STORE_CA_FILE to the CA that signed it, and use a name that it holds",
)  # fmt: skip
NO_TLS = Meaning("NoTls", "TLS with {endpoint} fails ({told})", "does this port speak TLS? If not: REPRISE_STORE_SECURE=false")
WANTS_TLS = Meaning("WantsTls", "{endpoint} speaks TLS only", "set REPRISE_STORE_SECURE=true")
REFUSED = Meaning("Refused", "the store refused the request ({told})", "see the store's own log")

CODES: dict[str, Meaning] = {
    **dict.fromkeys(("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken"), CREDENTIALS),
    **dict.fromkeys(("RequestTimeTooSkewed", "RequestExpired"), CLOCK),
    "NoSuchBucket": NO_BUCKET,
    **dict.fromkeys(("XMinioStorageFull", "InsufficientStorage", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded"), NO_SPACE),
    **dict.fromkeys(("SlowDown", "SlowDownRead", "SlowDownWrite", "ServiceUnavailable", "TooManyRequests"), THROTTLED),
    **dict.fromkeys(("RequestTimeout", "OperationTimedOut", "OperationMaxedOut", "IncompleteBody"), TIMED_OUT),
    **dict.fromkeys(("BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch", "InvalidDigest"), DAMAGED),
    **dict.fromkeys(("ConditionalRequestConflict", "OperationAborted"), CONFLICT),
    "NotImplemented": UNSUPPORTED,
    "InternalError": FAILING,
}
STATUSES: dict[int, Meaning] = {
    401: CREDENTIALS, 403: CREDENTIALS, 408: TIMED_OUT, 409: CONFLICT, 429: THROTTLED, 500: FAILING, 501: UNSUPPORTED,
    502: FAILING, 503: THROTTLED, 504: TIMED_OUT, 507: NO_SPACE,
}  # fmt: skip
MISSING = ("NoSuchKey", "NoSuchObject", "NoSuchVersion")


def translate(error: Exception, *, key: str, endpoint: str) -> StoreError | None:
    """The error of ours for one that the SDK or its HTTP client raised; None for one that is not of the store."""
    if isinstance(error, S3Error):
        return _told(error, key, endpoint)
    if isinstance(error, InvalidResponseError | ServerError):
        return _by_status(error, key, endpoint)
    if isinstance(error, MinioException):
        return _as(REFUSED, str(error), key, endpoint)
    if isinstance(error, urllib3.exceptions.HTTPError | OSError):
        return _silence(error, key, endpoint)
    return None


def _told(error: S3Error, key: str, endpoint: str) -> StoreError:
    code, status = error.code or "", getattr(error.response, "status", 0)
    if code in MISSING:
        return NotStored("it is not in the store", subject=key)
    if code == "PreconditionFailed" or status == 412:
        return ConditionNotMet("the condition is not met", subject=key)
    meaning = CODES.get(code) or STATUSES.get(status, REFUSED)
    return _as(meaning, f"{code}: {error.message}", key, endpoint)


def _by_status(error: InvalidResponseError | ServerError, key: str, endpoint: str) -> StoreError:
    """A proxy's answer, or one to a HEAD: no XML, only a status."""
    status = int(error.status_code if isinstance(error, ServerError) else getattr(error, "_code", 0))
    if status == 412:
        return ConditionNotMet("the condition is not met", subject=key)
    if status == 400 and "HTTPS" in str(error):
        return _as(WANTS_TLS, "", key, endpoint)
    return _as(STATUSES.get(status, REFUSED), f"HTTP status {status}", key, endpoint)


def _silence(error: Exception, key: str, endpoint: str) -> StoreError:
    chain = _chain(error)
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _as(UNTRUSTED, cause.verify_message, key, endpoint)
    if any(isinstance(cause, ssl.SSLError | urllib3.exceptions.SSLError) for cause in chain):
        return _as(NO_TLS, str(error), key, endpoint)
    told = next((repr(cause) for cause in chain if isinstance(cause, OSError)), type(error).__name__)
    # urllib3 derives its NewConnectionError, a connection refused, from its time-out
    late = not isinstance(error, urllib3.exceptions.NewConnectionError)
    if late and any(isinstance(cause, urllib3.exceptions.TimeoutError | TimeoutError) for cause in chain):
        return _as(TIMED_OUT, told, key, endpoint)
    return _as(AWAY, told, key, endpoint)


def _chain(error: BaseException) -> list[BaseException]:
    """The error, what it was raised from, and errors it carries as arguments (urllib3 wraps so)."""
    found: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        at = todo.pop()
        if at is not None and at not in found:
            found.append(at)
            todo += [at.__cause__, at.__context__, *(arg for arg in at.args if isinstance(arg, BaseException))]
    return found


def _as(meaning: Meaning, told: str, key: str, endpoint: str) -> StoreUnavailable:
    kind = Transient if meaning.again else StoreUnavailable
    message = meaning.message.format(endpoint=endpoint, told=told)
    return kind(message, subject=key, reason=meaning.reason, remedy=meaning.remedy)
