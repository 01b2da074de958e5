"""A pack is lost behind the store's back: it is told which checkpoints that touches, and a node's copy heals it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from reprise.archive.repository import Repository
from reprise.contracts.model import Workload
from reprise_lab import counter, faults
from reprise_lab.paths import KUBECONFIG
from reprise_lab.stored import store
from reprise_lab.witness import Witness

pytestmark = pytest.mark.e2e

INTERVAL_S = 5
TICKS_PER_S = 10
MAX_LOST = (INTERVAL_S + 4) * TICKS_PER_S  # as in test_recovery


def check(namespace: str, *options: str) -> tuple[int, dict[str, Any]]:
    """`reprise store check` as a user runs it: its exit code, and what it told."""
    command = [str(Path(sys.executable).parent / "reprise"), "store", "check", "-n", namespace, "-o", "json", *options]
    env = os.environ | {"KUBECONFIG": str(KUBECONFIG)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode in (0, 3), done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_lost_pack_is_told_and_healed_from_a_nodes_copy(namespace: str) -> None:
    # Kept long enough that what is damaged is not pruned while it is looked at.
    counter.deploy(namespace, annotations={"reprise.dev/interval": f"{INTERVAL_S}s", "reprise.dev/keep": "50"})
    counter.wait_protected(namespace)
    first = counter.wait_checkpoint(namespace)["checkpoint_id"]
    counter.wait_checkpoint(namespace, after=first)

    opened = store()
    workload = Workload(namespace=namespace, name="counter")
    newest, before_it, *_ = Repository(opened).list_manifests(workload, "counter")
    lost = max(newest.packs, key=lambda ref: ref.size)
    key = newest.lineage.pack(lost.id)
    touched = {m.checkpoint_id for m in (newest, before_it) if lost.id in {ref.id for ref in m.packs}}
    opened.delete(key)

    code, told = check(namespace)
    assert code == 3
    assert {(finding["kind"], finding["object"]) for finding in told["findings"]} == {("lost-pack", key)}, "or damaged before"
    assert newest.checkpoint_id in touched <= set(told["findings"][0]["checkpoints"])

    code, told = check(namespace, "--repair")
    assert (code, told["healed"]) == (0, [key])
    assert opened.size(key) == lost.size
    assert check(namespace) == (0, {"findings": [], "healed": []})

    with Witness(namespace) as witness:
        before, killed_at = witness.last(), time.monotonic()
        faults.process_signal(namespace, counter.pod(namespace)["metadata"]["name"], "counter", signal.SIGKILL)
        after = witness.wait(before.run, killed_at + 0.15, 20)
        assert after.count >= before.count - MAX_LOST
        assert witness.runs(killed_at) == {before.run}, "a blank instance answered"
    counter.wait_checkpoint(namespace, after=newest.checkpoint_id, seconds=60)
