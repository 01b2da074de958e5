"""A program that hands out its state gets it back: where it crashed, on another node, and if it does not take the newest one."""

import signal
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from reprise_lab import counter, faults, listing
from reprise_lab.shell import kubectl, poll
from reprise_lab.witness import Witness, ask

pytestmark = pytest.mark.e2e

APP = "pull-state"
INTERVAL_S = 2
MAX_LOST = (INTERVAL_S + 4) * 10
"""It counts to 10 each second: at most one interval, what taking one takes, and the noise of a busy lab."""
PROTOTYPE = {
    "reprise.dev/mode": None, "reprise.dev/interval": None, "reprise.dev/state-path": None, "reprise.dev/state-port": None,
    "hitachienergy.com/ps_mode": "http-sf", "hitachienergy.com/ps_interval": str(INTERVAL_S),
    "hitachienergy.com/ps_path": "/state", "hitachienergy.com/ps_port": "8080",
}  # fmt: skip


def deploy(
    namespace: str, *, annotations: Mapping[str, str | None] | None = None, env: dict[str, str] | None = None,
    container: Mapping[str, Any] | None = None, kind: counter.Kind = "Deployment",
) -> None:  # fmt: skip
    """With two checkpoints."""
    counter.deploy(namespace, annotations=annotations, env=env, container=container, kind=kind, app=APP)
    counter.wait_protected(namespace, app=APP)
    first = counter.wait_checkpoint(namespace)
    assert first["checkpoint_kind"] == "http"
    counter.wait_checkpoint(namespace, after=first["checkpoint_id"])


@pytest.fixture
def service(namespace: str) -> Iterator[Witness]:
    """What users of its Service see: nobody is sent to a process without its state."""
    deploy(namespace)
    with Witness(namespace, service=listing.service_address(APP, namespace)) as witness:
        yield witness


def kill(namespace: str, number: int = signal.SIGKILL) -> float:
    uid, at = counter.pod(namespace, APP)["metadata"]["uid"], time.monotonic()
    faults.pod_signal(uid, number)
    return at


def events(namespace: str) -> list[str]:
    return [f"{event['reason']}: {event['message']}" for event in listing.events(namespace)]


def test_after_a_crash_in_place_the_same_state_is_served(service: Witness) -> None:
    namespace = service.namespace
    uid, before = counter.pod(namespace, APP)["metadata"]["uid"], service.last()
    killed_at = kill(namespace)
    after = service.wait(before.run, killed_at + 0.3, 20)
    assert after.count >= before.count - MAX_LOST
    row = counter.wait_failover(namespace, "crash")
    assert (row["state"], row["path"]) == ("completed", "in-place"), row
    assert counter.pod(namespace, APP)["metadata"]["uid"] == uid
    # Not since it was killed: a Service's endpoints may still name the pod when its next process begins to listen.
    assert service.runs(after.at) == {before.run}, "a process without its state was in the Service"
    print(f"back after {after.at - killed_at:.2f} s")


def test_a_hang_is_a_crash(service: Witness) -> None:
    before = service.last()
    stopped_at = kill(service.namespace, signal.SIGSTOP)
    service.wait(before.run, stopped_at + 1, 30)
    assert counter.wait_failover(service.namespace, "hang")["state"] == "completed"


@pytest.mark.alone
def test_a_lost_nodes_state_is_served_on_the_other_node(service: Witness, node_comes_back: object) -> None:
    namespace, before = service.namespace, service.last()
    assert counter.pod(namespace, APP)["spec"]["nodeName"] == "n1"
    off_at = time.monotonic()
    faults.power_off("n1")
    after = service.wait(before.run, off_at + 1, 60)
    assert after.count >= before.count - MAX_LOST
    row = counter.wait_failover(namespace, "node-loss")
    assert (row["state"], row["path"], row["standby"]) == ("completed", "shadow", "n2"), row
    poll(20, lambda: len(counter.pods(namespace, APP)) == 1, "one pod to be left")
    assert service.runs(off_at) == {before.run}, "a process without its state was in the Service"
    faults.power_on("n1")
    newer = counter.wait_checkpoint(namespace, after=row["checkpoint_id"], seconds=60)
    assert newer["node"] == "n2", "what was moved must be protected where it is now"


def test_a_planned_move_takes_its_last_state_along(service: Witness) -> None:
    namespace, before = service.namespace, service.last()
    wanted = ("reprise.dev/move-id=1", "reprise.dev/move-to=n2")
    kubectl("-n", namespace, "annotate", "deployment", APP, *wanted, "--overwrite")
    row = counter.wait_failover(namespace, "move")
    assert (row["state"], row["standby"]) == ("completed", "n2"), row
    moved_at = time.monotonic()
    after = service.wait(before.run, moved_at, 20)
    assert after.count >= before.count
    assert service.runs(moved_at - 60) == {before.run}


def test_if_the_newest_is_refused_the_one_before_is_served(namespace: str) -> None:
    deploy(namespace, annotations={"reprise.dev/interval": "5s"}, env={"REFUSE_FIRST": "1"})
    with Witness(namespace, service=listing.service_address(APP, namespace)) as witness:
        newest, previous = counter.slot(namespace, "live", app=APP).name, counter.slot(namespace, "previous", app=APP).name
        before = witness.last()
        witness.after_gap(before.run, kill(namespace), 20)
        row = counter.wait_failover(namespace, "crash")
    assert (row["state"], row["checkpoint_id"]) == ("completed", previous), (row, newest)


def test_if_both_are_refused_it_starts_cold_with_the_reason(namespace: str) -> None:
    deploy(namespace, env={"REFUSE_FIRST": "2"})
    kill(namespace)
    row = counter.wait_failover(namespace, "crash")
    assert row["state"] == "abandoned"
    assert "REFUSE_FIRST says so" in row["message"]
    poll(20, lambda: bool(ask(counter.pod(namespace, APP)["status"]["podIP"])), "it to serve", 0.2)
    newest = counter.wait_checkpoint(namespace)["checkpoint_id"]
    assert counter.wait_checkpoint(namespace, after=newest), "it is protected again"


@pytest.mark.alone
def test_what_started_blank_while_its_nodes_agent_was_away_is_given_its_state_once_that_is_back(namespace: str) -> None:
    """It ran for less than its interval without it: any crash may cost as much."""
    counter.deploy(namespace, annotations={"reprise.dev/interval": "60s"}, app=APP)
    counter.wait_protected(namespace, app=APP)
    good = counter.wait_checkpoint(namespace)["checkpoint_id"]
    address = counter.pod(namespace, APP)["status"]["podIP"]
    before = ask(address)
    assert before
    with faults.agents_away("n1"):
        kill(namespace)
        poll(20, lambda: (ask(address) or before)["run"] != before["run"], "it to start blank", 0.1)
    poll(20, lambda: (ask(address) or {}).get("run") == before["run"], "it to be given its state", 0.1)
    row = counter.wait_failover(namespace, "crash")
    assert row["state"] == "completed", row
    assert row["checkpoint_id"] >= good


def test_the_prototypes_annotations_work_for_a_pod_without_a_probe(namespace: str) -> None:
    """http-sf: with a probe of ours."""
    deploy(namespace, annotations=PROTOTYPE, container={"livenessProbe": None})
    with Witness(namespace, service=listing.service_address(APP, namespace)) as witness:
        before = witness.last()
        witness.after_gap(before.run, kill(namespace), 20)
        assert counter.wait_failover(namespace, "crash")["state"] == "completed"
        counter.wait_checkpoint(namespace, after=counter.wait_checkpoint(namespace)["checkpoint_id"])
        witness.after_gap(before.run, kill(namespace, signal.SIGSTOP), 60)
        assert counter.wait_failover(namespace, "hang")["state"] == "completed"


def test_a_statefulsets_pod_gets_its_state_on_another_node(namespace: str) -> None:
    deploy(namespace, kind="StatefulSet")
    with Witness(namespace, selector=f"app={APP}") as witness:
        before = witness.last()
        kubectl("-n", namespace, "annotate", "statefulset", APP, "reprise.dev/move-id=1", "reprise.dev/move-to=n2")
        row = counter.wait_failover(namespace, "move")
        assert (row["state"], row["path"], row["standby"]) == ("completed", "recreate", "n2"), row
        witness.wait(before.run, time.monotonic(), 20)


@pytest.mark.parametrize(
    ("annotations", "said"),
    [({"reprise.dev/state-path": "/nowhere"}, ["StateStatus"]), ({"reprise.dev/state-port": "9"}, ["StateUnreachable"]),
     ({"reprise.dev/state-max-bytes": "10", "reprise.dev/on-failure": "fly"}, ["StateTooLarge", "'fly' is none of in-place"]),
     ({"reprise.dev/state-headers": "nobody"}, ["StateAccess"]), ({"reprise.dev/state-port": None}, ["state-port"])],
)  # fmt: skip
def test_a_state_that_cannot_be_had_is_told_with_what_to_do(
    namespace: str, annotations: dict[str, str | None], said: list[str]
) -> None:
    counter.deploy(namespace, annotations=annotations, app=APP)
    poll(40, lambda: all(each in "\n".join(events(namespace)) for each in said), f"Events that say {said}", 0.5)
    assert ask(counter.pod(namespace, APP)["status"]["podIP"], "/count"), "it serves all the same"
