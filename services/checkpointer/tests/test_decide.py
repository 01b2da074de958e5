"""What a kubelet's answer means: each known cause by its name, with something to do about it."""

import pytest
from reprise.checkpointer.decide import explain, overtaken, too_soon

CRIU_BODY = 'checkpointing of ns/p/c failed (rpc error: failed to checkpoint container 1: running "runc" failed)'


@pytest.mark.parametrize(
    ("status", "body", "log", "reason", "remedy"),
    [
        (401, "Unauthorized", None, "Unauthorized", "webhook"),
        (403, "Forbidden (user=x, verb=create, resource=nodes, subresource=checkpoint)", None, "Forbidden", "nodes/checkpoint"),
        (404, "404: Page Not Found", None, "FeatureDisabled", "ContainerCheckpoint"),
        (404, "container nobody does not exist", None, "ContainerNotFound", "reprise.dev/containers"),
        (404, "pod does not exist", None, "ContainerNotFound", "ended"),
        (500, "checkpoint/restore support not available", None, "RuntimeDisabled", "enable_criu_support"),
        (500, "CRIU binary not found or too old", None, "CriuMissing", "install criu"),
        (500, CRIU_BODY, "Error (criu/sk-inet.c): Unsupported proto 262 for socket", "MptcpSocket", "GODEBUG=multipathtcp=0"),
        (500, CRIU_BODY, "Error: In-flight connection (l) for 1f", "InFlightConnection", "skip-in-flight"),
        (500, CRIU_BODY, "Error: Some file locks are hold by dumping tasks! You can try --file-locks", "FileLocks", "file-locks"),
        (500, CRIU_BODY, "Error (criu/cr-dump.c:389): Can't get rlimit 0: Operation not permitted", "NoSysResource", "root"),
        (500, CRIU_BODY, "Error: something new", "CriuFailed", "criu.org"),
        (500, CRIU_BODY, None, "CriuFailed", "deploy/node"),
        (500, "context deadline exceeded", "In-flight connection (l) for 1f", "InFlightConnection", "skip-in-flight"),
        (500, "unknown method CheckpointContainer for service runtime.v1.RuntimeService", None, "RuntimeTooOld", "2.0"),
        (503, "busy", None, "KubeletError", "log"),
    ],
)
def test_each_cause_is_told_apart_and_carries_a_remedy(status: int, body: str, log: str | None, reason: str, remedy: str) -> None:
    failure = explain(status, body, log)
    assert failure.reason == reason
    assert remedy in failure.remedy
    assert failure.message


def test_only_what_passes_by_itself_is_tried_again_at_once() -> None:
    assert explain(500, CRIU_BODY, "Error (criu/sk-inet.c:206): inet: In-flight connection (l) for 1f").retry
    assert explain(500, "failed to pause container").retry
    assert not explain(500, CRIU_BODY, "Error: Unsupported proto 262").retry
    assert not explain(403, "Forbidden").retry


def test_a_message_of_any_length_is_cut() -> None:
    assert len(explain(500, "x" * 100_000).message) < 1200


def test_of_what_comes_due_at_once_one_is_taken() -> None:
    assert not too_soon(None, 60, "interval")
    assert too_soon(0.1, 60, "interval")
    assert not too_soon(59, 60, "interval")
    assert not too_soon(0.4, 1, "interval"), "a checkpoint takes a part of a short interval"


def test_a_last_checkpoint_is_only_taken_under_the_newest_id() -> None:
    assert overtaken("ck2", "ck3", hold=True)
    assert overtaken("ck3", "ck3", hold=True)
    assert not overtaken("ck4", "ck3", hold=True)
    assert not overtaken("ck2", "ck3", hold=False), "what the scheduler asked for late does no harm"


def test_what_a_user_asked_for_is_never_too_soon() -> None:
    assert not too_soon(0.1, 60, "demand")
    assert not too_soon(0.1, 60, "drain")
