"""In a real Jaeger: one trace for each checkpoint and failover, and from a failover to the checkpoint that it restored."""

import asyncio
import json
import signal
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from reprise.contracts import envelope, subjects
from reprise_lab import counter, faults, listing, nats
from reprise_lab.shell import kubectl, poll
from reprise_lab.witness import Witness

pytestmark = pytest.mark.e2e

CHECKPOINT = {
    "checkpoint.due", "probe before", "kubelet checkpoint", "probe after", "store", "chunk", "upload", "commit", "stage",
}  # fmt: skip
IN_PLACE = {"saga.plan", "saga.verify"}
SHADOW = {f"saga.{step}" for step in ("plan", "fence", "stage", "place", "restored", "release", "verify", "adopt")}


class Trace:
    """As Jaeger's query API tells it: https://www.jaegertracing.io/docs/1.76/apis/"""

    def __init__(self, found: dict[str, Any]) -> None:
        self.spans: list[dict[str, Any]] = found["spans"]
        self._services = {name: process["serviceName"] for name, process in found["processes"].items()}

    @property
    def names(self) -> set[str]:
        return {span["operationName"] for span in self.spans}

    def span(self, name: str) -> dict[str, Any]:
        return next(span for span in self.spans if span["operationName"] == name)

    def service(self, name: str) -> str:
        return self._services[self.span(name)["processID"]]

    def tags(self, name: str) -> dict[str, Any]:
        return {tag["key"]: tag["value"] for tag in self.span(name)["tags"]}

    def links(self, name: str) -> set[str]:
        """Ids of other traces that the span leads to."""
        own = self.span(name)["traceID"]
        return {each["traceID"] for each in self.span(name)["references"] if each["traceID"] != own}

    def roots(self) -> list[str]:
        return [span["operationName"] for span in self.spans if not any(r["refType"] == "CHILD_OF" for r in span["references"])]


def trace(trace_id: str) -> Trace | None:
    url = f"http://{listing.service_address('jaeger')}:16686/api/traces/{trace_id}"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return Trace(json.loads(answer.read())["data"][0])
    except (OSError, IndexError, KeyError):
        return None


def wait_trace(trace_id: str, wanted: set[str]) -> Trace:
    found: list[Trace] = []

    def complete() -> bool:
        now = trace(trace_id)
        found[:] = [now] if now else []
        return bool(now and wanted <= now.names)

    try:
        poll(20, complete, f"spans {wanted} in trace {trace_id}", 0.5)
    except Exception as error:
        raise AssertionError(f"missing: {wanted - (found[0].names if found else set())}") from error
    return found[0]


async def events(namespace: str) -> list[tuple[str, Any]]:
    """Every event about the namespace so far, with the id of its trace."""
    client = await nats.connect()
    subscription = await client.jetstream().subscribe(f"{subjects.ROOT}.*.*.*.{namespace}.*", ordered_consumer=True)
    found = []
    try:
        while True:
            message = await subscription.next_msg(timeout=5.0)
            received, event = envelope.decode(message.data)
            found.append((received.traceparent.split("-")[1], event))
            if message.metadata.num_pending == 0:
                return found
    except TimeoutError:
        return found
    finally:
        await client.close()


def trace_of(namespace: str, which: Callable[[Any], bool]) -> str:
    """Of the newest event that is so."""
    return [trace_id for trace_id, event in asyncio.run(events(namespace)) if which(event)][-1]


def of_checkpoint(name: str) -> Callable[[Any], bool]:
    """Not of a failover that restores it: that has a trace of its own."""
    return lambda event: event.TYPE.startswith("checkpoint.") and getattr(event, "checkpoint_id", "") == name


def staged_on_both(namespace: str) -> str:
    """The newest checkpoint that lies ready on its own node and on the standby."""
    found: dict[str, set[str]] = {}

    def both() -> bool:
        told = [event for _, event in asyncio.run(events(namespace))]
        for event in told:
            if event.TYPE == "checkpoint.staged":
                found.setdefault(event.checkpoint_id, set()).add(event.role)
        return any(roles == {"own", "standby"} for roles in found.values())

    poll(60, both, f"a checkpoint that is staged on both nodes in {namespace}", 1)
    return max(checkpoint_id for checkpoint_id, roles in found.items() if roles == {"own", "standby"})


def test_a_checkpoint_is_one_trace_of_all_its_steps(protected_counter: Witness) -> None:
    namespace = protected_counter.namespace
    name = staged_on_both(namespace)
    found = wait_trace(trace_of(namespace, of_checkpoint(name)), CHECKPOINT)
    assert found.roots() == ["checkpoint.due"]
    assert {found.service(step) for step in ("store", "commit", "stage")} == {"reprise-transfer"}
    assert found.service("checkpoint.due") == "reprise-scheduler"
    assert found.service("kubelet checkpoint") == "reprise-checkpointer"
    sent = found.tags("publish checkpoint.stored")
    assert sent["messaging.system"] == "nats"
    assert sent["messaging.operation.type"] == "send"
    assert sent["messaging.destination.name"].startswith("reprise.v1.checkpoint.stored.")
    assert (sent["k8s.namespace.name"], sent["k8s.deployment.name"]) == (namespace, "counter")
    assert sent["reprise.checkpoint.id"] == name


def test_a_failover_in_place_is_one_trace_from_the_fault_to_its_end(protected_counter: Witness) -> None:
    namespace = protected_counter.namespace
    before, killed_at = protected_counter.last(), time.monotonic()
    faults.process_signal(namespace, counter.pod(namespace)["metadata"]["name"], "counter", signal.SIGKILL)
    protected_counter.wait(before.run, killed_at + 0.15, 20)
    name = counter.wait_failover(namespace, "crash")["failover_id"]
    told = asyncio.run(events(namespace))
    (trace_id,) = {trace_id for trace_id, event in told if getattr(event, "failover_id", "") == name}
    found = wait_trace(trace_id, {"failover.declared", *IN_PLACE, "publish failover.completed"})
    assert found.roots() == ["failover.declared"]
    assert found.service("failover.declared") == "reprise-health-watcher"
    assert found.tags("saga.plan")["reprise.failover.cause"] == "crash"


@pytest.mark.alone
def test_a_move_off_a_lost_node_is_one_trace_that_leads_to_the_checkpoint_it_restored(
    protected_counter: Witness, node_comes_back: None
) -> None:
    namespace = protected_counter.namespace
    staged_on_both(namespace)
    before, off_at = protected_counter.last(), time.monotonic()
    faults.power_off("n1")
    protected_counter.wait(before.run, off_at + 0.3, 40)
    name = counter.wait_failover(namespace, "node-loss")["failover_id"]
    told = asyncio.run(events(namespace))
    (ended,) = {trace_id for trace_id, event in told if event.TYPE == "failover.completed" and event.failover_id == name}
    found = wait_trace(ended, {"failover.declared", *SHADOW, "publish failover.released", "publish failover.completed"})
    assert found.roots() == ["failover.declared"]
    assert found.span("failover.declared")["duration"] > 3_000_000, "it begins with the last sign of life, not with the notice"
    assert found.tags("saga.place")["reprise.failover.path"] == "shadow"
    assert found.tags("saga.place")["reprise.failover.standby"] == "n2"
    restored = found.tags("saga.verify")["reprise.checkpoint.id"]
    made_in = {trace_id for trace_id, event in told if event.TYPE == "checkpoint.stored" and event.checkpoint_id == restored}
    assert found.links("saga.plan") == found.links("saga.verify") == made_in


PROTECTED = "Armed"
"""The condition's reason while a good checkpoint is live."""


def condition(namespace: str) -> dict[str, str]:
    conditions = counter.pod(namespace)["status"].get("conditions", [])
    return next((each for each in conditions if each["type"] == "reprise.dev/Protected"), {})


def test_the_pod_says_that_it_is_protected_and_by_what(protected_counter: Witness) -> None:
    namespace = protected_counter.namespace
    poll(30, lambda: condition(namespace).get("status") == "True", "the condition reprise.dev/Protected", 0.5)
    assert condition(namespace)["reason"] == PROTECTED
    assert "newest checkpoint" in condition(namespace)["message"]
    poll(20, lambda: bool(listing.told(namespace, "Protected")), "the Event Protected", 0.5)
    kubectl("-n", namespace, "annotate", "deployment", "counter", "reprise.dev/mode=off", "--overwrite")
    poll(30, lambda: condition(namespace).get("reason") == "NotAnnotated", "the condition of a workload that is let go", 0.5)
    assert condition(namespace)["status"] == "False"


def series(service: str, name: str, namespace: str) -> list[str]:
    """Of this metric, about this namespace, from every replica of the service."""
    listed = json.loads(kubectl("-n", "reprise-system", "get", "pods", "-l", f"app.kubernetes.io/name={service}", "-o", "json"))
    found: list[str] = []
    for pod in listed["items"]:
        address = f"http://{pod['status'].get('podIP')}:8080/metrics"
        with urllib.request.urlopen(address, timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        found += [line for line in lines if line.startswith(name) and f'workload_namespace="{namespace}"' in line]
    return found


def test_the_leading_scheduler_alone_tells_how_the_workload_stands(protected_counter: Witness) -> None:
    namespace = protected_counter.namespace
    staged_on_both(namespace)
    told = f'reason="{PROTECTED}"'
    poll(20, lambda: any(told in line for line in series("scheduler", "reprise_workload_protected", namespace)),
         "a series of the protected counter", 1)  # fmt: skip
    (point,) = series("scheduler", "reprise_recovery_point_timestamp_seconds", namespace)
    assert 0 < time.time() - float(point.split()[-1]) < 60

    def is_warm() -> bool:
        (warm,) = series("scheduler", "reprise_standby_warm", namespace)
        return float(warm.split()[-1]) == 1

    poll(20, is_warm, "its standby to be told as warm", 1)
