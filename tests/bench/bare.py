"""The bare technique, by hand: a wrapper in front of runc (wrapper/main.go) that restores what has a checkpoint, and a loop that
removes the dead container.

No service of Reprise takes part: the pod is not annotated, so the engine hands each of its starts to the `runc` that it is
configured with, which for as long as a bench runs is the wrapper.
"""

import asyncio
import contextlib
import http.client
import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reprise.archive.criu import read_stats
from reprise.contracts.model import CriuStats
from reprise.runtime.cri import Cri, CriError
from reprise_lab import counter, kind
from reprise_lab.node import Node
from reprise_lab.paths import CHECKOUT, NODES, PKI
from reprise_lab.shell import LabError
from reprise_lab.witness import MEASURES_S, Witness

POLL_S = 0.02
WRAPPER = "/usr/local/bin/bare-runc"
CONFIGURATION = "etc/reprise/engine.json"
SLOTS = "var/lib/reprise-bare"
CRIU = "etc/criu/runc.conf"


@contextlib.contextmanager
def by_hand(namespace: str, env: dict[str, str] | None = None) -> Iterator[Witness]:
    """A counter whose one checkpoint lies on its node, under the eyes of the witness."""
    counter.deploy(namespace, annotations=counter.PLAIN, env=env)
    pod, stop = counter.pod(namespace), threading.Event()
    node, uid = str(pod["spec"]["nodeName"]), str(pod["metadata"]["uid"])
    slot = Node(node).root / SLOTS / uid
    reaper = threading.Thread(target=lambda: asyncio.run(reap(node, uid, stop)), daemon=True)
    try:
        with configured(node):
            checkpoint(namespace, pod, slot / "counter")
            with wrapper(node), Witness(namespace, every_s=MEASURES_S) as witness:
                reaper.start()
                yield witness
    finally:
        stop.set()
        counter.remove(namespace)
        shutil.rmtree(slot, ignore_errors=True)


@contextlib.contextmanager
def configured(node: str) -> Iterator[None]:
    """runc alone has CRIU read this at each dump and restore: open connections would fail them."""
    file = Node(node).root / CRIU
    file.parent.mkdir(exist_ok=True)
    file.write_text("tcp-close\nskip-in-flight\nfile-locks\n")
    try:
        yield
    finally:
        file.unlink()


@contextlib.contextmanager
def wrapper(node: str) -> Iterator[None]:
    """On that node the engine calls the wrapper where it called runc."""
    root = Node(node).root
    built, file = root / WRAPPER[1:], root / CONFIGURATION
    before = file.read_text()
    behind = f"-X main.runc={json.loads(before)['runc']}"
    build = ["go", "build", "-buildvcs=false", "-ldflags", behind, "-o", str(built), "."]
    subprocess.run(build, cwd=CHECKOUT / "tests/bench/wrapper", check=True)
    _replace(file, json.dumps(json.loads(before) | {"runc": WRAPPER}))
    try:
        yield
    finally:
        _replace(file, before)


def _replace(file: Path, text: str) -> None:
    """Whole: each call of the engine reads it."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)


def checkpoint(namespace: str, pod: dict[str, Any], slot: Path) -> CriuStats:
    """Taken through the kubelet and unpacked into the slot; what CRIU says of it."""
    name, node = pod["metadata"]["name"], pod["spec"]["nodeName"]
    archive = Node(node).root / kubelet_checkpoint(node, f"/checkpoint/{namespace}/{name}/counter?timeout=60").lstrip("/")
    slot.mkdir(parents=True, exist_ok=True)
    subprocess.run(["tar", "-xf", str(archive), "-C", str(slot)], check=True)
    archive.unlink()
    return read_stats((slot / "stats-dump").read_bytes())


def kubelet_checkpoint(node: str, path: str) -> str:
    tls = ssl.create_default_context(cafile=str(PKI / "ca.crt"))
    tls.load_cert_chain(PKI / "admin.crt", PKI / "admin.key")
    connection = http.client.HTTPSConnection(NODES[node], 10250, context=tls, timeout=90)
    connection.request("POST", path)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise LabError(f"{path}: {answer.status} {body[:500]!r}")
    return str(json.loads(body)["items"][0])


async def reap(node: str, pod_uid: str, stop: threading.Event) -> None:
    """Its dead containers are removed as soon as a listing shows them."""
    cri = Cri(f"{Node(node).root}{kind.current().socket}")
    while not stop.is_set():
        with contextlib.suppress(CriError):
            for container in await cri.list_containers("exited"):
                if container.pod_uid == pod_uid:
                    await cri.remove_container(container.id)
        await asyncio.sleep(POLL_S)
    await cri.close()
