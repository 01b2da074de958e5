"""Wall clocks that jump, each node's another way: what Reprise runs there sees another time of day, by a preloaded library
(clock.c). The lab's nodes have one kernel, which has one wall clock.
"""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from reprise_lab import counter
from reprise_lab.node import Node
from reprise_lab.paths import NODES
from reprise_lab.shell import kubectl, run

FOLDER = "/var/lib/reprise-chaos"
LIBRARY = "clock.so"
JUMPS_S = (-3600, -90, 7, 90, 3600)
WORKLOADS = {
    "health-watcher": "daemonset", "checkpointer": "daemonset", "transfer": "daemonset", "scheduler": "deployment",
    "restorer": "deployment", "arbiter": "deployment",
}  # fmt: skip
ENV = {"LD_PRELOAD": f"{FOLDER}/{LIBRARY}"}


@contextmanager
def jumping(chance: random.Random) -> Iterator[None]:
    """While it runs. Nobody waits for what runs on a node that is off by the end."""
    _bring_library()
    for name in NODES:
        _set(name, 0)
    patched: list[str] = []
    try:
        for service, kind in WORKLOADS.items():  # one after another: clocks are the fault, not a machine that is out of cores
            kubectl("-n", "reprise-system", "patch", kind, service, "-p", json.dumps(_patch(service)))
            patched.append(f"{kind}/{service}")
            kubectl("-n", "reprise-system", "rollout", "status", patched[-1], "--timeout=120s")
        counter.wait_reprise()
        for name in NODES:
            _set(name, chance.choice(JUMPS_S))
        yield
    finally:
        for name in patched:
            kubectl("-n", "reprise-system", "rollout", "undo", name)


def _patch(service: str) -> dict[str, object]:
    container = {
        "name": service,
        "env": [{"name": name, "value": value} for name, value in ENV.items()],
        "volumeMounts": [{"name": "clock", "mountPath": FOLDER, "readOnly": True}],
    }
    volume = {"name": "clock", "hostPath": {"path": FOLDER, "type": "Directory"}}
    return {"spec": {"template": {"spec": {"containers": [container], "volumes": [volume]}}}}


def _bring_library() -> None:
    source = Path(__file__).with_name("clock.c")
    with TemporaryDirectory() as folder:
        built = Path(folder) / LIBRARY
        run("gcc", "-shared", "-fPIC", "-O2", f'-DJUMP_FILE="{FOLDER}/jump"', "-o", built, source)
        library = built.read_bytes()
    for name in NODES:
        target = _folder(name)
        target.mkdir(parents=True, exist_ok=True)
        (target / LIBRARY).write_bytes(library)


def _set(node: str, jump_s: int) -> None:
    (_folder(node) / "jump").write_text(f"{jump_s:+d}\n")


def _folder(node: str) -> Path:
    return Node(node).root / FOLDER.lstrip("/")
