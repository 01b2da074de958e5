"""Each cause that doctor knows of and this kernel allows, by an app that has it: what doctor finds is what CRIU said.

Not here: a device, since containers of the lab may open none that CRIU does not know; what is of the node, as a kubelet without
the feature (unit tests have those); a connection in its handshake, a matter of luck.
"""

import json
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from reprise_lab import counter
from reprise_lab.shell import kubectl, poll, reprise

pytestmark = pytest.mark.e2e

SYSCALL = "import ctypes, os; call = ctypes.CDLL(None, use_errno=True).syscall; "
UNCONFINED: dict[str, Any] = {"seccompProfile": {"type": "Unconfined"}}
"""The runtime's own profile lets neither io_uring nor userfaultfd through."""


@dataclass(frozen=True)
class App:
    """code: what its process does before it sleeps. check, state, seen: what doctor is to find."""

    code: str
    check: str
    state: str
    seen: str
    container: dict[str, Any] = field(default_factory=dict)
    pod: dict[str, Any] = field(default_factory=dict)


APPS = {
    "well": App("", "protection", "ok", "newest good checkpoint"),
    "mptcp": App(
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262); s.bind(('', 7000)); s.listen()",
        "MPTCP", "problem", "MptcpSocket",
    ),
    "io-uring": App(
        SYSCALL + "fd = call(425, 8, ctypes.create_string_buffer(120)); assert fd > 0, os.strerror(ctypes.get_errno())",
        "io_uring", "problem", "IoUring", {"securityContext": UNCONFINED},
    ),
    "userfaultfd": App(
        SYSCALL + "fd = call(323, 1); assert fd > 0, os.strerror(ctypes.get_errno())",
        "other files", "problem", "UnsupportedFile", {"securityContext": UNCONFINED},
    ),
    "deleted-file": App(
        "import os; f = open('/tmp/gone', 'wb'); f.write(os.urandom(3 << 20)); f.flush(); os.unlink('/tmp/gone')",
        "deleted files", "problem", "GhostFile",
    ),
    "other-user": App("", "protection", "ok", "newest good checkpoint", {"securityContext": {"runAsUser": 1000}}),
    "engine": App("", "engine", "ok", "it wrote the last checkpoint"),
    "inotify": App(
        "import os; os.makedirs('/tmp/app', exist_ok=True); "
        + SYSCALL + "fd = call(253); assert call(254, fd, b'/tmp/app', 0x3C6) > 0, os.strerror(ctypes.get_errno())",
        "inotify", "problem", "Inotify",
    ),
    "unix-socket": App(
        "import socket, time; time.sleep(2); s = socket.socket(socket.AF_UNIX); s.connect('/shared/s')",
        "other files", "problem", "ExternalUnixSocket",
        {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}, {"volumes": [{"name": "shared", "emptyDir": {}}]},
    ),
    "locks": App("import fcntl; f = open('/tmp/lock', 'w'); fcntl.flock(f, fcntl.LOCK_EX)", "file locks", "ok", "1 were held"),
    "connected": App(
        "import socket; l = socket.create_server(('127.0.0.1', 7000)); s = socket.create_connection(('127.0.0.1', 7000)); "
        "a = l.accept()",
        "TCP connections", "ok", "a restore closes them",
    ),
    "stopped-child": App(
        "import os, signal, subprocess; os.kill(subprocess.Popen(['sleep', '1000000']).pid, signal.SIGSTOP)",
        "protection", "ok", "newest good checkpoint",
    ),
    "terminal": App("", "terminal", "problem", "Terminal: ", {"tty": True}),
    "stdin": App("", "terminal", "problem", "Terminal: ", {"stdin": True}),
    "no-probe": App("", "livenessProbe", "warning", "no livenessProbe"),
    "shared-pids": App("", "namespaces", "warning", "shareProcessNamespace", pod={"shareProcessNamespace": True}),
    "host-path": App(
        "", "mounts", "warning", "host",
        {"volumeMounts": [{"name": "host", "mountPath": "/host"}]}, {"volumes": [{"name": "host", "hostPath": {"path": "/srv"}}]},
    ),
}  # fmt: skip
LISTENER = "import socket, time; s = socket.socket(1); s.bind('/shared/s'); s.listen(); c = s.accept(); time.sleep(1e9)"


def deployment(name: str, app: App) -> dict[str, Any]:
    image = {"image": "localhost/counter:1", "imagePullPolicy": "Never"}
    command = ["python3", "-c", f"{app.code}\nimport time\nwhile True: time.sleep(1)"]
    containers = [{"name": "app", "command": command} | image | app.container]
    if name == "unix-socket":
        containers.append({"name": "listener", "command": ["python3", "-c", LISTENER]} | image | app.container)
    annotations = {"reprise.dev/mode": "criu", "reprise.dev/interval": "60s", "reprise.dev/containers": "app"}
    pod = {"terminationGracePeriodSeconds": 0, "nodeName": "n2", "containers": containers} | app.pod
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "annotations": annotations},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }  # fmt: skip


@pytest.fixture(scope="module")
def found() -> Iterator[dict[str, list[dict[str, str]]]]:
    """By app, what doctor finds once each was checkpointed or refused."""
    namespace = f"doctor-{secrets.token_hex(3)}"
    kubectl("create", "namespace", namespace)
    made = [deployment(name, app) for name, app in APPS.items()]
    kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": made}))

    def tried() -> bool:
        rows = counter.console(f"checkpoints?namespace={namespace}&limit=500")
        return {row["workload"] for row in rows if row["state"] in ("stored", "failed")} == set(APPS)

    try:
        poll(90, tried, f"each app in {namespace} to be checkpointed, or not", 0.5)
        with ThreadPoolExecutor(3) as pool:
            yield dict(zip(APPS, pool.map(lambda name: doctor(f"{namespace}/{name}"), APPS), strict=True))
    finally:
        counter.remove(namespace)  # all of them end at once, which the next test would feel


@pytest.mark.alone
@pytest.mark.parametrize("name", APPS)
def test_a_cause_is_found_in_the_app_that_has_it(found: dict[str, list[dict[str, str]]], name: str) -> None:
    app = APPS[name]
    told = next(each for each in found[name] if each["check"] == app.check)
    assert (told["state"], app.seen in told["seen"]) == (app.state, True), told
    assert told["remedy"] or told["state"] == "ok"


def doctor(subject: str) -> list[dict[str, str]]:
    done = reprise("doctor", subject, "--deep", "-o", "json")
    assert done.returncode in (0, 3), done.stderr
    told: list[dict[str, str]] = json.loads(done.stdout)
    return told
