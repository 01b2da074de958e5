"""The list of annotations that have no effect, as scheduler keeps it in NATS."""

from nats.errors import Error as NatsError
from reprise.contracts.records import WrongAnnotations
from reprise.runtime.kv import Bucket
from reprise.runtime.telemetry import log


class ListedAnnotations:
    """Implements ports.Annotations."""

    def __init__(self, bucket: Bucket[WrongAnnotations]) -> None:
        self._bucket = bucket

    async def wrong(self) -> WrongAnnotations | None:
        try:
            entry = await self._bucket.get(WrongAnnotations.ALL)
        except (NatsError, OSError, TimeoutError) as error:
            log().warning("the list of wrong annotations cannot be read", error=repr(error))
            return None
        return entry.value if entry else WrongAnnotations()
