"""Somebody sends a process back to an older checkpoint, and brings it back."""

import json
import signal
import subprocess
import time
import urllib.request

import pytest
from reprise_lab import counter, faults
from reprise_lab.shell import kubectl, poll, reprise
from reprise_lab.witness import PORT, Witness

pytestmark = pytest.mark.e2e
FAR = 1_000_000
"""What it counts to before it is sent back: it does not get there by itself."""


def restore(namespace: str, to: str, *options: str) -> subprocess.CompletedProcess[str]:
    return reprise("restore", f"{namespace}/counter", "--to", to, *options, limit_s=150)


def test_it_goes_back_and_comes_back(protected_counter: Witness) -> None:
    namespace = protected_counter.namespace
    kubectl("-n", namespace, "annotate", "deployment", "counter", "reprise.dev/keep=50")  # one each 5 s, however slow the machine
    old, run = counter.wait_checkpoint(namespace), protected_counter.last().run
    address = f"http://{protected_counter.last().address}:{PORT}/state"
    urllib.request.urlopen(address, data=json.dumps({"count": FAR}).encode(), timeout=5).close()
    poll(5, lambda: protected_counter.last().count >= FAR, "it to have counted")
    done = restore(namespace, old["checkpoint_id"])
    assert done.returncode == 0, done.stderr
    kept = done.stderr.split("is kept as ")[1].split()[0]
    back = protected_counter.last()
    print(done.stderr)
    assert back.run == run, "the same process"
    assert back.count < FAR
    assert counter.wait_failover(namespace, "restore")["path"] == "in-place"

    newer = counter.wait_checkpoint(namespace, after=kept)
    faults.pod_signal(counter.pod(namespace)["metadata"]["uid"], signal.SIGKILL)
    protected_counter.after_gap(run, time.monotonic(), 20)
    crashed = counter.wait_failover(namespace, "crash")
    assert crashed["checkpoint_id"] >= newer["checkpoint_id"], "of what it became, not of what was given up"
    assert protected_counter.last().count < FAR

    again = restore(namespace, kept, "--discard")
    assert again.returncode == 0, again.stderr
    poll(5, lambda: protected_counter.last().count >= FAR, "it to be as it was when it was sent back")
    assert protected_counter.last().run == run


def test_a_checkpoint_that_is_not_there_is_refused_and_nothing_stops(protected_counter: Witness) -> None:
    before = protected_counter.last()
    done = restore(protected_counter.namespace, "20200101t000000000-0000000000")
    assert (done.returncode, protected_counter.last().run) == (1, before.run)
    assert "it has no good checkpoint" in done.stderr
