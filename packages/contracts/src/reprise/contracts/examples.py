"""One example of each event: a counter whose process is killed, and what is told about it.

A field takes its value from STORY by its name, or from APART where one event says something else; one that neither names keeps
its default. So an event that is added needs a line here only for what is new in it.
"""

import json
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from reprise.contracts import envelope, subjects
from reprise.contracts.events import Event, NodeEvent, node_subject
from reprise.contracts.model import CriuStats, RestoreStats, Target, Workload

AT = datetime(2026, 11, 24, 10, 11, 12, 123000, tzinfo=UTC)
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_UID = "0b6f5c1e-93a5-4b0e-a3a4-6c9f3f0f7d11"
_ID = "20261124t101112123-1a2b3c4d5e"

STORY: dict[str, Any] = {
    "at": AT,
    "node": "n1",
    "workload": Workload(namespace="shop", kind="Deployment", name="counter"),
    "target": Target(node="n1", pod="counter-55866f86c5-rlrcs", pod_uid=_UID, container="counter", container_id="5e1f" * 16),
    "container": "counter",
    "checkpoint_id": _ID,
    "trigger": "interval",
    "due_at": AT,
    "interval_s": 10.0,
    "keep": 3,
    "archive_path": "/var/lib/kubelet/checkpoints/checkpoint-counter-55866f86c5-rlrcs_shop-counter-2026-11-24T10:11:12Z.tar",
    "kubelet_started_at": AT,
    "kubelet_s": 0.41,
    "due_to_kubelet_s": 0.03,
    "manifest_key": f"manifests/shop/Deployment/counter/counter/{_ID}.json",
    "size": 9437184,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "transfer_s": 0.22,
    "stats": CriuStats(
        freezing_time_us=812, frozen_time_us=91240, memdump_time_us=30122, memwrite_time_us=21455, pages_scanned=5120,
        pages_written=2210,
    ),
    "new_bytes": 614400,
    "uploaded_bytes": 188416,
    "digest": "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
    "pull_s": 0.35,
    "bytes_fetched": 188416,
    "bytes_written": 9437184,
    "failover_id": "fo-e0a1de91b5",
    "cause": "crash",
    "path": "in-place",
    "standby": "n2",
    "attempt": 1,
    "noticed_after_s": 0.38,
    "armed": True,
    "lived_s": 3612.5,
    "total_s": 0.68,
    "slot": f"shop/{_UID}/counter/{_ID}",
    "pause_s": 0.118,
    "hold_s": 30.0,
    "freeze_s": 0.04,
    "operation_id": "op-5d0c7e21aa",
    "operation": "move",
    "user": "alice@example.com",
}  # fmt: skip

APART: dict[str, dict[str, Any]] = {
    "checkpoint.staged": {"reference": f"shop/{_UID}/counter/{_ID}"},
    "image.built": {"reference": f"localhost:5797/shop/deployment-counter/counter:{_ID}"},
    "checkpoint.failed": {
        "reason": "UnhealthyAfter",
        "message": "the container did not pass its probe after the checkpoint",
        "remedy": "give its livenessProbe more patience",
        "archive_path": "",
    },
    "container.ended": {"exit_code": 137, "reason": "OOMKilled", "ended_at": AT, "log_tail": "step 4711\n", "final": False},
    "container.restored": {
        "stats": RestoreStats(restore_time_us=231044, forking_time_us=21873, pages_restored=2210, pages_compared=118),
        "took_s": 0.241,
        "frozen": False,
    },
    "checkpoint.skipped": {
        "reason": "TooSoon",
        "message": "the last one ended 0.4 s ago, and it is due each 10 s",
    },
    "checkpoint.paused": {
        "reason": "PauseOutlastsProbe",
        "message": "container counter was not healthy after 3 checkpoints in a row",
        "remedy": "give its livenessProbe more patience, or a longer reprise.dev/interval",
    },
    "standby.refused": {
        "node": "n2",
        "reason": "NoRoom",
        "message": "n2 has 12 MiB of memory left for 64 MiB",
        "remedy": "free memory on n2, or add a node",
    },
    "failover.declared": {"detail": "exit code 137"},
    "failover.started": {"why": "the kubelet's own restart restores it on n1", "standby": "n1"},
    "failover.fenced": {"how": "its container is gone"},
    "failover.abandoned": {
        "reason": "NoCheckpoint",
        "message": "there is no good checkpoint of it",
        "remedy": "look at why none was stored: reprise status",
    },
    "failover.delayed": {
        "cause": "node-loss",
        "reason": "NoNode",
        "message": "no node can take it now: n2 has another instruction set",
        "remedy": "add a node like n1",
    },
    "operation.requested": {"to": "n2"},
    "operation.refused": {
        "reason": "NotProtected",
        "message": "deployment shop/counter is not protected",
        "remedy": "protect it first: reprise protect shop/counter",
    },
    "node.lost": {"detail": "no lease for 4.6 s, and its kubelet does not answer"},
    "node.suspected": {"detail": "no renewal seen for 4.0 s, and its kubelet does not answer"},
    "node.postponed": {"detail": "it would be 2 of 3 nodes at once, and at most 50% may be (before it: n2)"},
    "node.isolated": {"detail": "its lease could not be renewed for 3.0 s: 1 container frozen"},
    "node.returned": {"detail": "its lease is renewed again"},
    "node.guarded": {"detail": "it freezes when it is cut off, and may be given up 4.6 s after its last renewal"},
    "node.unguarded": {"detail": "/sys/fs/cgroup/freezer/kubepods/freezer.state cannot be written"},
}


def example(event: type[Event]) -> Event:
    """The example of one event. Raises ValueError if a field of it has neither a value here nor a default."""
    known = STORY | ({"workload": node_subject("n1"), "detail": event.TYPE} if issubclass(event, NodeEvent) else {})
    values = known | APART.get(event.TYPE, {})
    try:
        return event(**{name: values[name] for name in event.model_fields if name in values})
    except ValidationError as error:
        fields = ", ".join(str(problem["loc"][0]) for problem in error.errors())
        raise ValueError(f"{event.TYPE}: give {fields} an example value in reprise.contracts.examples") from error


def message(event: type[Event]) -> dict[str, Any]:
    """The example as the CloudEvent that arrives."""
    return dict(json.loads(published(event)[1]))


def published(event: type[Event]) -> tuple[str, bytes, dict[str, str]]:
    """The example as it lies on the stream: subject, payload, headers."""
    event_id, payload = envelope.encode(
        example(event), source="reprise/example/n1", event_id=f"example-{event.TYPE}", traceparent=TRACEPARENT
    )
    headers = {"Nats-Msg-Id": event_id, "Content-Type": envelope.CONTENT_TYPE, "traceparent": TRACEPARENT}
    return subjects.of(example(event)), payload, headers
