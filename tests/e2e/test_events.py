"""What others see: events on NATS, traces in Jaeger, rows in the console, events on the workload."""

import json
from typing import Any

import pytest
from reprise.contracts import envelope, subjects
from reprise_lab import counter, listing, nats
from reprise_lab.shell import kubectl, poll
from reprise_lab.witness import Witness

pytestmark = pytest.mark.e2e


async def collect(namespace: str) -> list[tuple[envelope.Envelope, Any]]:
    """Every event about a namespace that the stream holds, as any subscriber would read it."""
    client = await nats.connect()
    found = []
    subscription = await client.jetstream().subscribe(f"{subjects.ROOT}.*.*.*.{namespace}.*", ordered_consumer=True)
    try:
        while True:
            message = await subscription.next_msg(timeout=5.0)
            found.append(envelope.decode(message.data))
            if message.metadata.num_pending == 0:
                return found
    except TimeoutError:
        return found
    finally:
        await client.close()


def test_the_console_keeps_each_checkpoint_with_its_real_pause_and_criu_s_statistics(protected_counter: Witness) -> None:
    row = counter.wait_checkpoint(protected_counter.namespace)
    assert row["frozen_time_us"] / 1e6 <= row["pause_s"] < 5, "CRIU's figure is a part of the pause"
    assert row["size_bytes"] > 1_000_000
    assert row["frozen_time_us"] > 0
    assert row["pages_written"] > 100
    assert row["kubelet_s"] > 0


def wait_event(namespace: str, reason: str, seconds: float = 30) -> str:
    poll(seconds, lambda: bool(listing.told(namespace, reason)), f"a Kubernetes Event {reason} in {namespace}", 0.3)
    return listing.told(namespace, reason)[0]


def test_a_nonsense_interval_is_told_on_the_workload(namespace: str) -> None:
    counter.deploy(namespace, annotations={"reprise.dev/interval": "soon"})
    message = wait_event(namespace, "BadAnnotation")
    assert "reprise.dev/interval" in message
    assert "soon" in message


def test_a_container_that_does_not_exist_is_told_on_the_workload(namespace: str) -> None:
    counter.deploy(namespace, annotations={"reprise.dev/containers": "nobody"})
    assert "nobody" in wait_event(namespace, "NoSuchContainer")


def test_a_workload_without_a_probe_is_told_what_it_misses_and_is_checkpointed(namespace: str) -> None:
    counter.deploy(namespace)
    remove = [{"op": "remove", "path": f"/spec/template/spec/containers/0/{p}"} for p in ("livenessProbe", "readinessProbe")]
    kubectl("-n", namespace, "patch", "deployment", "counter", "--type=json", "-p", json.dumps(remove))
    assert "hang" in wait_event(namespace, "NoProbe")
    counter.wait_checkpoint(namespace)


def test_the_prototypes_annotations_work_unchanged(namespace: str) -> None:
    ours: dict[str, str | None] = {"reprise.dev/mode": None, "reprise.dev/interval": None}
    theirs = {
        "hitachienergy.com/cr_mode": "cr", "hitachienergy.com/cr_interval": "5",
        "hitachienergy.com/ps_mode": "http-sf", "hitachienergy.com/ps_interval": "10", "hitachienergy.com/ps_path": "/state",
        "hitachienergy.com/ps_port": "8080",
    }  # fmt: skip
    counter.deploy(namespace, annotations=ours | theirs)
    assert counter.wait_checkpoint(namespace)["checkpoint_kind"] == "criu", "of both modes the memory's"
    assert "ps_mode" in wait_event(namespace, "BadAnnotation")
