"""The error tree. Every error names what failed, on which object, what to do next, and whether retrying helps.

RepriseError
 +-- ContractError            what arrived breaks the contract; retrying cannot help
 |    +-- MalformedEvent
 |    +-- UnknownEventType
 |    +-- UnknownEventVersion
 |    +-- WrongSubject
 +-- CheckpointError          a checkpoint that does not count
 +-- StoreError               the object store: unreachable, or holding something damaged
 |    +-- StoreUnavailable
 |    +-- NotStored
 |    +-- DamagedObject
 +-- RecoveryError            a recovery step that failed
"""


class RepriseError(Exception):
    """Root of every error that Reprise raises on purpose."""

    retryable = False

    def __init__(
        self, message: str, *, reason: str = "", subject: str = "", remedy: str = "", retryable: bool | None = None
    ) -> None:
        """message: what failed and why; subject: the object; remedy: what the user can do; reason: CamelCase code."""
        super().__init__(f"{subject}: {message}" if subject else message)
        self.message = message
        self.subject = subject
        self.remedy = remedy
        self.reason = reason or type(self).__name__
        if retryable is not None:
            self.retryable = retryable


class ContractError(RepriseError):
    """What arrived breaks the contract."""


class MalformedEvent(ContractError):
    """Not a CloudEvent of ours: not JSON, an attribute missing, or data that does not fit its type."""


class UnknownEventType(ContractError):
    """A CloudEvent of a type that this version does not know."""


class UnknownEventVersion(ContractError):
    """An event of another major version of the contract."""


class WrongSubject(ContractError):
    """An event on a subject that is not its own: who published it may publish there, and not what it says."""


class CheckpointError(RepriseError):
    """A checkpoint that does not count."""


class StoreError(RepriseError):
    """The object store."""


class StoreUnavailable(StoreError):
    """The store did not answer."""

    retryable = True


class NotStored(StoreError):
    """The object is not in the store."""


class DamagedObject(StoreError):
    """The object is in the store and is not what its manifest says."""


class RecoveryError(RepriseError):
    """A recovery step that failed."""
