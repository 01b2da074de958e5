"""The matrix. Its rows: each makes one fault of ours for as long as its context lasts, and undoes it. Its columns: what
happens to the workload meanwhile.
"""

import json
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import clocks
import meddling
from minio import MinioAdmin
from minio.credentials.providers import StaticProvider
from reprise.archive.settings import StoreSettings
from reprise_lab import counter, faults, listing
from reprise_lab.cluster import kill_component
from reprise_lab.node import Node
from reprise_lab.paths import CGROUP, NETNS, NODES
from reprise_lab.shell import LabError, kill, kubectl, pid_of, poll, run
from reprise_lab.stored import secret, store

SERVICES = ("scheduler", "checkpointer", "transfer", "restorer", "health-watcher", "arbiter", "console")
Fault = Callable[[Sequence[str], random.Random], AbstractContextManager[None]]
"""Takes the namespaces of the workloads that are watched, and the chance of this run."""
SET_BACK_S = 120.0
SLOTS, FULL = f"/{counter.SLOTS}", "/run/full"
STATE, WRITTEN = "/var/lib/reprise", ("ends.new", "cold.new")
KUBELET_PORT = 10250


@contextmanager
def killed(service: str) -> Iterator[None]:
    """Again and again: each replica is killed as soon as the kubelet has started it anew."""
    stop = threading.Event()

    def kill_for_ever() -> None:
        while not stop.wait(0.7):
            with suppress(LabError):  # the API server may not list its pods just now
                faults.kill_service(service)

    faults.kill_service(service)
    thread = threading.Thread(target=kill_for_ever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        # No new pod is waited for: its node may be off.
        renew(service, wait=False)


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
    return listing.pods("reprise-system", f"app={server}")


def pids_of(server: str) -> list[int]:
    found = [
        faults.container_pids(pod["metadata"]["uid"], status["containerID"].rpartition("/")[2])
        for pod in pods_of(server)
        for status in pod["status"].get("containerStatuses", [])
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
def set_back() -> Iterator[None]:
    """From the middle of the first failover on NATS has the data of two minutes before, as a power loss leaves it by default."""
    [pod] = pods_of("nats")
    volume = f"var/lib/kubelet/pods/{pod['metadata']['uid']}/volumes/kubernetes.io~empty-dir/data"
    data = Node(pod["spec"]["nodeName"]).root / volume
    with TemporaryDirectory(dir=data.parent) as folder:
        kept = Path(folder) / "kept"
        with stopped("nats"):
            run("cp", "-a", data, kept)
        time.sleep(SET_BACK_S)

        def rewind() -> None:
            pids = pids_of("nats")
            for pid in pids:
                kill(pid, signal.SIGSTOP)
            for found in data.iterdir():
                run("rm", "-rf", found)
            run("cp", "-a", f"{kept}/.", data)
            for pid in pids:
                kill(pid, signal.SIGKILL)

        with meddling.at_the_first_step(rewind):
            yield


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


def listens(address: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((address, port), 1):
        return True
    return False


@contextmanager
def without_kubelet(node: str) -> Iterator[None]:
    kill_component(f"{node}/kubelet")
    poll(5, lambda: not listens(NODES[node], KUBELET_PORT), f"the kubelet of {node} to be dead")
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


def corrupt(namespace: str, what: str) -> None:
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


@contextmanager
def damaged(namespaces: Sequence[str], what: str) -> Iterator[None]:
    for namespace in namespaces:
        corrupt(namespace, what)
    yield


@contextmanager
def full_store() -> Iterator[None]:
    """A quota of one byte: MinIO refuses each write as it does when its disk is full."""
    access, key = (secret("reprise-store")[name].decode() for name in ("access-key", "secret-key"))
    endpoint = f"{listing.service_address('minio')}:9000"
    admin = MinioAdmin(endpoint=endpoint, credentials=StaticProvider(access, key), secure=False)
    bucket = StoreSettings.model_fields["bucket"].default
    admin.bucket_quota_set(bucket, 1)
    try:
        yield
    finally:
        admin.bucket_quota_clear(bucket)


@contextmanager
def full_disk(node: str) -> Iterator[None]:
    """Where the engine writes checkpoints there is no room left; those that lie there can be read."""
    layers = f"lowerdir={SLOTS},upperdir={FULL}/upper,workdir={FULL}/work"
    Node(node).exec(
        "sh", "-ec", f"mkdir -p {FULL}; mount -t tmpfs -o size=64k full {FULL}; mkdir {FULL}/upper {FULL}/work; "
        f"mount -t overlay -o {layers} full {SLOTS}",
    )  # fmt: skip
    try:
        yield
    finally:
        if Node(node).init_pid:  # powered off meanwhile: gone with its mounts
            for mounted in (SLOTS, FULL):
                Node(node).exec("umount", "-l", mounted, check=False)


@contextmanager
def state_disk(node: str, how: str) -> Iterator[None]:
    """All that the node's agent keeps on the disk. full: no room. read-only: as a file system that found itself damaged. hanging:
    what it writes there never returns.
    """
    lab = Node(node)
    if how == "hanging":  # nobody reads what is written there
        lab.exec("sh", "-ec", "; ".join(f"rm -f {STATE}/{name}; mkfifo {STATE}/{name}" for name in WRITTEN))
    elif how == "full":
        layers = f"lowerdir={STATE},upperdir={FULL}/upper,workdir={FULL}/work"
        lab.exec("sh", "-ec", f"mkdir -p {FULL}; mount -t tmpfs -o size=64k full {FULL}; mkdir {FULL}/upper {FULL}/work; "
                 f"mount -t overlay -o {layers} full {STATE}; dd if=/dev/zero of={STATE}/fill bs=4k || true")  # fmt: skip
    else:
        lab.exec("sh", "-ec", f"mount --bind {STATE} {STATE}; mount -o remount,ro,bind {STATE}")
    try:
        if how != "hanging":
            renew("health-watcher", node, wait=True)  # its container has the disk as it was when it was made
            counter.wait_reprise()
        yield
    finally:
        if not lab.init_pid:  # powered off meanwhile: mounts are gone, pipes are not
            for name in WRITTEN:
                (lab.home / "data" / STATE.lstrip("/") / name).unlink(missing_ok=True)
        elif how == "hanging":
            drain = "; ".join(f"timeout 1 cat {STATE}/{name} >/dev/null || true" for name in WRITTEN)
            lab.exec("sh", "-c", f"{drain}; find {STATE} -maxdepth 1 -type p -delete")
        else:
            for mounted in (STATE, FULL) if how == "full" else (STATE,):
                lab.exec("umount", "-l", mounted, check=False)
            renew("health-watcher", node, wait=False)


def renew(service: str, node: str = "", *, wait: bool) -> None:
    """New pods: the kubelet waits ever longer with what crashes. node: only the one there."""
    which = ["-l", f"app.kubernetes.io/name={service}", *(("--field-selector", f"spec.nodeName={node}") if node else ())]
    kubectl("-n", "reprise-system", "delete", "pods", *which, "--grace-period=1", f"--wait={str(wait).lower()}")


@contextmanager
def with_bad_disk(how: str, other: AbstractContextManager[None]) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(state_disk("n1", how))
        settle()
        stack.enter_context(other)
        yield


@contextmanager
def paused(node: str, seconds: float) -> Iterator[None]:
    """Every process of the node stands still for so long, its kernel too: nothing answers on its link meanwhile."""
    RESUMED.clear()
    faults.cut(node, "all")
    stopped = stop_all(node)

    def resume() -> None:
        time.sleep(seconds)
        faults.heal(node)
        RESUMED.append(time.monotonic())
        for pid in stopped:
            kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=resume, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def stop_all(node: str) -> list[int]:
    """Until none is left that runs: what runs may have started others meanwhile."""
    found: list[int] = []
    while fresh := [pid for pid in pids_on(node) if pid not in found]:
        for pid in fresh:
            kill(pid, signal.SIGSTOP)
        found += fresh
    return found


def pids_on(node: str) -> list[int]:
    pids: list[int] = []
    for folder in (CGROUP / "pids" / NETNS / node).rglob("cgroup.procs"):
        with suppress(OSError):  # removed meanwhile
            pids += map(int, folder.read_text().split())
    return pids


CUT_OFF = "node cut from all"
DISKS, BESIDE = (
    ("full", "read-only", "hanging"),
    {"node cut off": lambda: cut("all"), "kubelet dead": lambda: without_kubelet("n1")},
)
PAUSES_S = (3, 5, 7, 10, 20, 45, 120)
PAUSED = "node paused"
PAUSED_LONG = "node paused, 120 s"
RESUMED: list[float] = []
"""When a paused node went on last, by the witness's clock."""
WINDOW_S = 1.5
"""For so long what runs there may still answer: docs/reliability.md, and what is on its way on a busy machine."""
MOVED = frozenset({CUT_OFF, PAUSED, PAUSED_LONG, *(f"state disk {how}, node cut off" for how in DISKS)})
"""What runs on the node is moved, harmed or not."""

ROWS: dict[str, Fault] = {
    "nothing else": lambda *_: nullcontext(),
    **{f"{service} killed": lambda *_, service=service: killed(service) for service in SERVICES},
    "restorer killed before each step": lambda *_: meddling.killed_before_each_step(),
    "NATS down": lambda *_: stopped("nats"),
    "NATS away, its data lost": lambda *_: away("nats"),
    "NATS set back by 2 minutes": lambda *_: set_back(),
    "events doubled, late, mixed up": lambda _, chance: meddling.replayed(chance),
    "store down": lambda *_: stopped("minio"),
    "store slow": lambda *_: slow("minio"),
    "store full": lambda *_: full_store(),
    "PostgreSQL down": lambda *_: stopped("postgres"),
    "API server hangs": lambda *_: hanging("kube-apiserver"),
    "kubelet dead": lambda *_: without_kubelet("n1"),
    "node's disk full": lambda *_: full_disk("n1"),
    CUT_OFF: lambda *_: cut("all"),
    **{
        f"state disk {how}, {name}": lambda *_, how=how, beside=beside: with_bad_disk(how, beside())
        for how in DISKS
        for name, beside in BESIDE.items()
    },
    PAUSED: lambda _, chance: paused("n1", chance.choice(PAUSES_S[:-1])),
    PAUSED_LONG: lambda *_: paused("n1", PAUSES_S[-1]),
    "node cut from NATS": lambda *_: cut("nats"),
    "node cut from the API": lambda *_: cut("api"),
    "wall clock jumps": lambda _, chance: clocks.jumping(chance),
    "a chunk damaged": lambda namespaces, _: damaged(namespaces, "chunk"),
    "a manifest damaged": lambda namespaces, _: damaged(namespaces, "manifest"),
}


HARMS: dict[str, int | None] = {"crash": signal.SIGKILL, "hang": signal.SIGSTOP, "none": None}
"""What a process gets. Each another workload of a herd, at once."""
NODE_LOSS = "node loss"
"""Of the node that the herd is on, so all of it."""
COLUMNS = (*HARMS, NODE_LOSS)

SETTLE_S = 2.0


def settle() -> None:
    """Long enough for a fault to be felt, shorter than a lease."""
    time.sleep(SETTLE_S)
