"""Wall clocks that jump, each node's another way: what Reprise runs there sees another time of day, by libfaketime, which leaves
monotonic clocks alone. The lab's nodes have one kernel, which has one wall clock.
"""

import json
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from reprise_lab import counter
from reprise_lab.node import Node
from reprise_lab.paths import NODES
from reprise_lab.shell import LabError, kubectl

FOLDER = "/var/lib/reprise-chaos"
LIBRARY = "libfaketime.so.1"
JUMPS_S = (-3600, -90, 7, 90, 3600)
WORKLOADS = {
    "health-watcher": "daemonset", "checkpointer": "daemonset", "transfer": "daemonset", "scheduler": "deployment",
    "restorer": "deployment",
}  # fmt: skip
ENV = {
    "LD_PRELOAD": f"{FOLDER}/{LIBRARY}", "FAKETIME_TIMESTAMP_FILE": f"{FOLDER}/jump", "FAKETIME_CACHE_DURATION": "1",
    "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DISABLE_SHM": "1",
}  # fmt: skip


@contextmanager
def jumping(chance: random.Random) -> Iterator[None]:
    """While it runs. Nobody waits for what runs on a node that is off by the end."""
    _bring_library()
    for name in NODES:
        _set(name, 0)
    try:
        for service, kind in WORKLOADS.items():  # one after another: clocks are the fault, not a machine that is out of cores
            kubectl("-n", "reprise-system", "patch", kind, service, "-p", json.dumps(_patch(service)))
            kubectl("-n", "reprise-system", "rollout", "status", f"{kind}/{service}", "--timeout=60s")
        counter.wait_reprise()
        for name in NODES:
            _set(name, chance.choice(JUMPS_S))
        yield
    finally:
        for service, kind in WORKLOADS.items():
            kubectl("-n", "reprise-system", "rollout", "undo", f"{kind}/{service}")


def _patch(service: str) -> dict[str, object]:
    container = {
        "name": service,
        "env": [{"name": name, "value": value} for name, value in ENV.items()],
        "volumeMounts": [{"name": "clock", "mountPath": FOLDER, "readOnly": True}],
    }
    volume = {"name": "clock", "hostPath": {"path": FOLDER, "type": "Directory"}}
    return {"spec": {"template": {"spec": {"containers": [container], "volumes": [volume]}}}}


def _bring_library() -> None:
    with TemporaryDirectory() as folder:
        for command in (["apt-get", "download", "-qq", "libfaketime"], ["sh", "-c", "dpkg-deb -x libfaketime_*.deb ."]):
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                raise LabError(f"libfaketime cannot be had: {done.stderr.strip()}")
        library = next(Path(folder).rglob(LIBRARY)).read_bytes()
    for name in NODES:
        target = _folder(name)
        target.mkdir(parents=True, exist_ok=True)
        (target / LIBRARY).write_bytes(library)


def _set(node: str, jump_s: int) -> None:
    (_folder(node) / "jump").write_text(f"{jump_s:+d}\n")


def _folder(node: str) -> Path:
    return Node(node).root / FOLDER.lstrip("/")
