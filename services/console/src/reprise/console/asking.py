"""Operations as a request asks for them, over REST or from a page: the right is checked, the subject known, then it is begun."""

from typing import Annotated, Any

from fastapi import HTTPException, Path, Request
from nats.errors import Error as NatsError
from reprise.console.access import Right
from reprise.console.gate import Gate
from reprise.console.ledger import Ledger
from reprise.console.model import Asked
from reprise.console.operations import Operations
from reprise.console.ports import OperationError
from reprise.contracts.events import Operation, node_subject
from reprise.contracts.model import Workload

KINDS = {kind.lower(): kind for kind in ("Deployment", "StatefulSet", "Pod")}
Part = Annotated[str, Path(max_length=253, pattern=r"^[^\x00]*$")]
NodeName = Annotated[str, Path(max_length=253, pattern=r"^[a-z0-9][a-z0-9.-]*$")]
CheckpointId = Annotated[str, Path(max_length=64, pattern=r"^[0-9a-z][0-9a-z-]*$")]
ID = r"op-[0-7][0-9a-hjkmnp-tv-z]{25}"


class Asking:
    """operations: None where there is no cluster to ask."""

    def __init__(self, gate: Gate, ledger: Ledger, operations: Operations | None) -> None:
        self._gate, self._ledger, self._operations = gate, ledger, operations

    @property
    def able(self) -> bool:
        return self._operations is not None and self._gate.accounts is not None

    async def workload(self, request: Request, namespace: str, kind: str, name: str) -> list[dict[str, Any]]:
        """Its containers' rows, for who may operate it. Raises HTTPException 401, 403, 404."""
        await self._gate.let(request, Right("operate", "workloads", namespace, name))
        found = [row for row in await self._ledger.workload(namespace, KINDS.get(kind, kind), name) if row["gone_at"] is None]
        if not found:
            raise HTTPException(404, f"no protected {kind} {name} in {namespace} is known")
        return found

    async def checkpoint(self, row: dict[str, Any], checkpoint_id: str) -> dict[str, Any]:
        """One of its good ones. row: of one of its containers, as workload() gives them. Raises HTTPException 404."""
        whose = {name: row[name] for name in ("namespace", "kind", "workload")}
        found = await self._ledger.query("checkpoints", whose | {"checkpoint_id": checkpoint_id, "state": "stored"}, 1)
        if not found:
            raise HTTPException(404, f"no good checkpoint {checkpoint_id} of {row['workload']} is stored any more")
        return found[0]

    async def node(self, request: Request, name: str) -> None:
        """Raises HTTPException 401, 403."""
        await self._gate.let(request, Right("operate", "nodes", name=name))

    async def ask_workload(
        self,
        request: Request,
        operation: Operation,
        row: dict[str, Any],
        operation_id: str,
        *,
        to: str = "",
        checkpoint_id: str = "",
    ) -> None:
        """row: of one of its containers, as workload() gives them. Raises HTTPException 409, 503."""
        workload = Workload.model_validate({"namespace": row["namespace"], "kind": row["kind"], "name": row["workload"]})
        user = request.state.who.user
        await self._ask(Asked(operation_id, operation, workload, row["node"] or "-", user, to, checkpoint_id))

    async def ask_node(self, request: Request, operation: Operation, name: str, operation_id: str) -> None:
        """Raises HTTPException 409, 503."""
        await self._ask(Asked(operation_id, operation, node_subject(name), name, request.state.who.user))

    async def _ask(self, asked: Asked) -> None:
        if self._operations is None:
            raise HTTPException(503, "this console is in no cluster: there is nobody to ask")
        try:
            await self._operations.ask(asked)
        except OperationError as error:
            raise HTTPException(503 if error.retryable else 409, f"{error}. To do: {error.remedy}") from error
        except (NatsError, OSError, TimeoutError) as error:
            raise HTTPException(503, "NATS does not answer, so nothing was done", {"Retry-After": "5"}) from error
