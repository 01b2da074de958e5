"""What a person can ask for: it is told as an event first, then begun. So nothing is done that nobody can see afterwards."""

from collections.abc import Awaitable, Callable

from reprise.console.model import Asked
from reprise.console.ports import Cluster, OperationError
from reprise.contracts.events import Event, OperationRefused, OperationRequested
from reprise.runtime.telemetry import log


class Operations:
    """publish: of an event, under its dedup id; raises nats.errors.Error or TimeoutError, and then nothing is done."""

    def __init__(self, publish: Callable[[Event, str], Awaitable[None]], cluster: Cluster) -> None:
        self._publish, self._cluster = publish, cluster

    async def ask(self, asked: Asked) -> None:
        """Raises OperationError; then the ledger has why, too."""
        common = {
            "node": asked.node, "workload": asked.workload, "operation_id": asked.operation_id, "operation": asked.operation,
            "user": asked.user,
        }  # fmt: skip
        requested = OperationRequested.model_validate(common | {"to": asked.to, "checkpoint_id": asked.checkpoint_id})
        await self._publish(requested, f"asked-{asked.operation_id}")
        log().info(
            "operation requested", operation=asked.operation, id=asked.operation_id, user=asked.user,
            subject=str(asked.workload), to=asked.to or asked.checkpoint_id,
        )  # fmt: skip
        try:
            await self._begin(asked)
        except OperationError as error:
            told = {"reason": error.reason, "message": error.message, "remedy": error.remedy}
            log().warning("operation refused", id=asked.operation_id, error=str(error))
            await self._publish(OperationRefused.model_validate(common | told), f"refused-{asked.operation_id}")
            raise

    async def _begin(self, asked: Asked) -> None:
        match asked.operation:
            case "checkpoint":
                await self._cluster.checkpoint_now(asked.workload, asked.operation_id)
            case "move":
                await self._cluster.move(asked.workload, asked.to, asked.operation_id)
            case "restore":
                await self._cluster.restore(asked.workload, asked.checkpoint_id, asked.operation_id)
            case "drain" | "undrain":
                await self._cluster.cordon(asked.node, asked.operation == "drain")
