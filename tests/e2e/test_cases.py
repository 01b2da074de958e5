"""Being protected is never worse than not being protected (I6): what users run, each with its right outcome (cases/)."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from reprise_lab import counter, faults, listing
from reprise_lab.shell import kubectl, poll, reprise
from reprise_lab.witness import ask

pytestmark = pytest.mark.e2e

CASES = Path(__file__).parent / "cases"
APP = "app"


def apply(namespace: str, number: str, *changes: tuple[str, str]) -> None:
    """The case's manifest, in this namespace; changes: of its text, what and into what."""
    [path] = CASES.glob(f"{number}-*.yaml")
    text = (
        path.read_text()
        .replace(f"name: h{number}}}", f"name: {namespace}}}")
        .replace(f"namespace: h{number}", f"namespace: {namespace}")
    )
    for before, after in changes:
        assert before in text, f"{path.name} has no {before!r}"
        text = text.replace(before, after)
    kubectl("apply", "-f", "-", stdin=text)


@pytest.fixture
def protected(request: pytest.FixtureRequest, namespace: str) -> Iterator[str]:
    """The namespace of the case that the test's mark names, once it is protected, and a checkpoint of it is in the store."""
    apply(namespace, request.param)
    counter.wait_protected(namespace, 120, APP)
    counter.wait_checkpoint(namespace, seconds=60)
    yield namespace


def state(namespace: str) -> dict[str, Any]:
    found = counter.pods(namespace, APP)
    told = ask(found[0]["status"].get("podIP", "")) if len(found) == 1 else None
    return dict(told or {})


def served(namespace: str) -> dict[str, Any]:
    """Once it answers: a checkpoint's pause is longer than one question waits."""
    found: dict[str, Any] = {}
    poll(5, lambda: bool(found.update(state(namespace)) or found), f"{namespace} to answer", 0.1)
    return found


def wait_run(namespace: str, run: object, seconds: float, *, another: bool = False) -> dict[str, Any]:
    """Until it answers with this run; or with another one."""
    found: list[dict[str, Any]] = []

    def answers() -> bool:
        found[:] = [told for told in [state(namespace)] if told and (told["run"] != run) is another]
        return bool(found)

    poll(seconds, answers, f"run {run} in {namespace}", 0.1)
    return found[0]


def end(namespace: str, number: int) -> None:
    faults.process_signal(namespace, counter.pod(namespace, APP)["metadata"]["name"], APP, number)


def restarts(namespace: str) -> int:
    return int(counter.pod(namespace, APP)["status"]["containerStatuses"][0]["restartCount"])


@pytest.mark.parametrize("protected", ["01"], indirect=True)
def test_what_only_an_exec_probe_can_judge_is_moved_like_any_other(protected: str) -> None:
    before = served(protected)
    done = reprise("move", f"{protected}/{APP}")
    assert done.returncode == 0, done.stdout + done.stderr
    row = counter.wait_failover(protected, "move")
    assert (row["state"], row["standby"]) == ("completed", "n2"), row
    assert wait_run(protected, before["run"], 10)["count"] >= before["count"]


@pytest.mark.parametrize("protected", ["01"], indirect=True)
def test_after_a_crash_it_is_found_to_serve(protected: str) -> None:
    run = served(protected)["run"]
    end(protected, signal.SIGKILL)
    assert counter.wait_failover(protected, "crash")["state"] == "completed"
    wait_run(protected, run, 10)


@pytest.mark.alone
@pytest.mark.parametrize("protected", ["01"], indirect=True)
def test_after_its_node_is_lost_it_is_kept_where_it_was_restored(protected: str, node_comes_back: None) -> None:
    run = served(protected)["run"]
    faults.power_off("n1")
    row = counter.wait_failover(protected, "node-loss")
    assert row["state"] == "completed", row
    wait_run(protected, run, 10)


@pytest.mark.parametrize("protected", ["03"], indirect=True)
def test_a_hang_that_only_an_exec_probe_sees_is_not_stored_and_the_state_before_it_comes_back(protected: str) -> None:
    before = served(protected)
    good = counter.wait_checkpoint(protected)["checkpoint_id"]
    hung_at = time.time()
    ask(counter.pod(protected, APP)["status"]["podIP"], "/hang", "POST")
    row = counter.wait_failover(protected, "hang", 60)
    assert row["state"] == "completed", row
    assert row["checkpoint_id"] >= good
    count = wait_run(protected, before["run"], 20)["count"]
    assert time.time() - hung_at < 45, "three probes of 5 s, their time-outs, and the restore"
    assert count >= before["count"] - 100, "more is lost than one interval's ten a second"
    time.sleep(20)
    assert len(counter.console(f"failovers?namespace={protected}&cause=hang")) == 1, "its restore brought the hang back"


@pytest.mark.parametrize("startup", [False, True])
def test_what_reconnects_within_the_grace_of_its_own_spec_keeps_its_memory(namespace: str, startup: bool) -> None:
    probe = "httpGet: {path: /health, port: 8080}"
    starts = f"startupProbe: {{{probe}, periodSeconds: 1, failureThreshold: 60}}"
    instead = f"{{{probe}, periodSeconds: 1, failureThreshold: 3}}\n        {starts}"
    before = f"{{{probe}, initialDelaySeconds: 30, periodSeconds: 1, failureThreshold: 3}}"
    apply(namespace, "06", *([(before, instead)] if startup else []))
    counter.wait_protected(namespace, 120, APP)
    run = served(namespace)["run"]
    end(namespace, signal.SIGKILL)
    poll(10, lambda: state(namespace).get("link") is False, "its connection to be found broken")
    poll(20, lambda: bool(state(namespace).get("link")), "it to reconnect")
    assert counter.wait_failover(namespace, "crash")["state"] == "completed"
    time.sleep(25)
    assert served(namespace)["run"] == run
    assert counter.console(f"failovers?namespace={namespace}&cause=hang") == []


@pytest.mark.parametrize("protected", ["07"], indirect=True)
def test_why_it_ended_is_told_though_it_was_restored(protected: str) -> None:
    run, before = served(protected)["run"], restarts(protected)
    end(protected, signal.SIGUSR1)
    counter.wait_failover(protected, "crash")
    wait_run(protected, run, 10)
    poll(20, lambda: restarts(protected) == before + 1, "the restart to be counted")
    [told] = listing.told(protected, "ContainerEnded")
    assert "ended with 3" in told
    assert "FATAL disk quota exceeded" in told
    pod = counter.pod(protected, APP)
    [status] = pod["status"]["containerStatuses"]
    assert (status["lastState"]["terminated"]["exitCode"], status["lastState"]["terminated"]["reason"]) == (3, "Error")
    assert "FATAL disk quota exceeded" in kubectl("-n", protected, "logs", pod["metadata"]["name"], "--previous", "--tail=1")
    assert "exit code 3" in reprise("history", f"{protected}/{APP}").stdout
    declared = reprise("events", "replay", "--type", "failover.declared", "--namespace", protected).stdout
    assert "ended with 3" in declared
    replayed = reprise("events", "replay", "--type", "container.ended", "--namespace", protected).stdout
    assert "exit code 3" in replayed


@pytest.mark.parametrize("protected", ["12"], indirect=True)
def test_what_is_not_protected_any_more_starts_blank_after_a_crash(protected: str) -> None:
    run = served(protected)["run"]
    done = reprise("unprotect", f"{protected}/{APP}")
    assert done.returncode == 0, done.stdout + done.stderr
    time.sleep(5)
    end(protected, signal.SIGKILL)
    assert wait_run(protected, run, 20, another=True)["count"] < 300


@pytest.mark.parametrize("protected", ["13"], indirect=True)
def test_a_program_that_feels_its_checkpoints_pause_for_a_while_is_protected(protected: str) -> None:
    time.sleep(35)
    assert counter.protected(protected, APP)
    assert restarts(protected) == 0
    assert not listing.told(protected, "CheckpointsPaused")


@pytest.mark.parametrize("policy", ["OnFailure", "Never"])
def test_a_job_that_is_done_is_done_once(namespace: str, policy: str) -> None:
    apply(namespace, "14", ("restartPolicy: OnFailure", f"restartPolicy: {policy}"), ("range(45)", "range(15)"))
    counter.wait_checkpoint(namespace)
    kubectl("-n", namespace, "wait", "--for=condition=Complete", "job/sim", "--timeout=120s")
    time.sleep(10)
    assert kubectl("-n", namespace, "logs", "-l", "app=sim", "--tail=-1").count("FINISHED") == 1
    assert counter.console(f"failovers?namespace={namespace}") == []
