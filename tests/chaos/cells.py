"""The matrix. Its rows: each makes one fault of ours for as long as its context lasts, and undoes it. Its columns: what
happens to the workload meanwhile.
"""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from reprise_lab import counter, faults
from reprise_lab.node import Node
from reprise_lab.shell import kill, kubectl, pid_of, poll
from reprise_lab.stored import store

SERVICES = ("scheduler", "checkpointer", "transfer", "restorer", "health-watcher", "console")
Fault = Callable[[str], AbstractContextManager[None]]
"""Takes the namespace of the workload that is watched."""


@contextmanager
def killed(service: str) -> Iterator[None]:
    """Again and again: each replica is killed as soon as the kubelet has started it anew."""
    stop = threading.Event()

    def kill_for_ever() -> None:
        while not stop.wait(0.7):
            faults.kill_service(service)

    faults.kill_service(service)
    thread = threading.Thread(target=kill_for_ever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        # The kubelet waits ever longer with what crashes; a new pod does not wait.
        kubectl("-n", "reprise-system", "delete", "pods", "-l", f"app.kubernetes.io/name={service}", "--grace-period=1")


@contextmanager
def away(server: str) -> Iterator[None]:
    kubectl("-n", "reprise-system", "scale", f"deployment/{server}", "--replicas=0")
    poll(30, lambda: not pods_of(server), f"{server} to be gone", 0.2)
    try:
        yield
    finally:
        kubectl("-n", "reprise-system", "scale", f"deployment/{server}", "--replicas=1")
        kubectl("-n", "reprise-system", "rollout", "status", f"deployment/{server}", "--timeout=60s")


def pods_of(server: str) -> list[dict[str, Any]]:
    return list(json.loads(kubectl("-n", "reprise-system", "get", "pods", "-l", f"app={server}", "-o", "json"))["items"])


def pids_of(server: str) -> list[int]:
    found = [
        faults.container_pids(pod["metadata"]["uid"], status["containerID"].rpartition("/")[2])
        for pod in pods_of(server)
        for status in pod["status"]["containerStatuses"]
    ]
    return [pid for pids in found for pid in pids]


@contextmanager
def stopped(server: str) -> Iterator[None]:
    """Its processes stand still: connections stay open, and nothing answers."""
    pids = pids_of(server)
    for pid in pids:
        kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            kill(pid, signal.SIGCONT)


@contextmanager
def slow(server: str) -> Iterator[None]:
    """It works a tenth of the time."""
    pids, stop = pids_of(server), threading.Event()

    def stutter() -> None:
        while not stop.is_set():
            for pid in pids:
                kill(pid, signal.SIGSTOP)
            stop.wait(0.45)
            for pid in pids:
                kill(pid, signal.SIGCONT)
            stop.wait(0.05)

    thread = threading.Thread(target=stutter, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def hanging(daemon: str) -> Iterator[None]:
    """A process of the control plane stands still."""
    pid = pid_of(daemon)
    assert pid is not None
    kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        kill(pid, signal.SIGCONT)


@contextmanager
def without_kubelet(node: str) -> Iterator[None]:
    pid = pid_of(f"{node}/kubelet")
    assert pid is not None
    kill(pid, signal.SIGKILL)
    try:
        yield
    finally:
        Node(node).up()


@contextmanager
def cut(what: faults.From) -> Iterator[None]:
    faults.cut("n1", what)
    try:
        yield
    finally:
        faults.heal("n1")


@contextmanager
def corrupt(namespace: str, what: str) -> Iterator[None]:
    """The newest checkpoint's manifest, or the largest pack that it refers to, gets one bit flipped."""
    newest = counter.wait_checkpoint(namespace)["checkpoint_id"]
    lineage, objects = f"{namespace}/deployment.counter/counter", store()
    key = f"archives/{lineage}/{newest}/manifest.json"
    if what == "chunk":
        packs = json.loads(objects.get(key))["packs"]
        key = f"packs/{lineage}/{max(packs, key=lambda pack: pack['size'])['id']}"
    body = bytearray(objects.get(key))
    body[len(body) // 3] ^= 1
    objects.put(key, bytes(body))
    yield


ROWS: dict[str, Fault] = {
    "nothing else": lambda _: nullcontext(),
    **{f"{service} killed": lambda _, service=service: killed(service) for service in SERVICES},  # type: ignore[misc]
    "NATS down": lambda _: stopped("nats"),
    "NATS away, its data lost": lambda _: away("nats"),
    "store down": lambda _: stopped("minio"),
    "store slow": lambda _: slow("minio"),
    "PostgreSQL down": lambda _: stopped("postgres"),
    "API server hangs": lambda _: hanging("kube-apiserver"),
    "kubelet dead": lambda _: without_kubelet("n1"),
    "node cut from NATS": lambda _: cut("nats"),
    "node cut from the API": lambda _: cut("api"),
    "a chunk damaged": lambda namespace: corrupt(namespace, "chunk"),
    "a manifest damaged": lambda namespace: corrupt(namespace, "manifest"),
}


def crash(namespace: str) -> None:
    faults.process_signal(namespace, counter.pod(namespace)["metadata"]["name"], "counter", signal.SIGKILL)


def hang(namespace: str) -> None:
    faults.process_signal(namespace, counter.pod(namespace)["metadata"]["name"], "counter", signal.SIGSTOP)


def node_loss(_: str) -> None:
    faults.power_off("n1")


COLUMNS: dict[str, Callable[[str], None] | None] = {"crash": crash, "hang": hang, "node loss": node_loss, "none": None}

SETTLE_S = 2.0


def settle() -> None:
    """Long enough for a fault to be felt, shorter than a lease."""
    time.sleep(SETTLE_S)
