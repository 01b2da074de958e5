"""The bare technique, by hand: a pod whose image is a checkpoint, and a loop that removes its dead container.

No service of Reprise takes part in its recovery: its pod is not annotated, and its image is named by digest, which
health-watcher does not take for a live reference. The store and the node-local registry only deliver the image once.
"""

import asyncio
import contextlib
import http.client
import json
import ssl
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reprise.archive.crypto import SecretKeys
from reprise.archive.repository import Repository
from reprise.contracts.model import Target, Workload, checkpoint_id, now
from reprise.runtime.cri import Cri, CriError
from reprise_lab import counter
from reprise_lab.node import Node
from reprise_lab.paths import NODES, PKI
from reprise_lab.shell import kubectl, poll
from reprise_lab.stored import secret, store
from reprise_lab.witness import Witness, ask

POLL_S = 0.02


@contextlib.contextmanager
def armed_by_hand(namespace: str) -> Iterator[Witness]:
    counter.deploy(namespace, annotations={"reprise.dev/mode": "off"})
    stop = threading.Event()
    try:
        pod = counter.pod(namespace)
        run = counter.state(namespace)["run"]
        reference = publish(namespace, pod)
        node = pod["spec"]["nodeName"]
        reaper = threading.Thread(target=lambda: asyncio.run(reap(node, pod["metadata"]["uid"], stop)), daemon=True)
        reaper.start()
        patch = {"spec": {"containers": [{"name": "counter", "image": reference}]}}
        kubectl("-n", namespace, "patch", "pod", pod["metadata"]["name"], "-p", json.dumps(patch))
        old = pod["status"]["containerStatuses"][0]["containerID"]
        poll(40, lambda: restored(namespace, old, str(run)), "the pod armed by hand", 0.2)
        with Witness(namespace) as witness:
            yield witness
    finally:
        stop.set()
        counter.remove(namespace)


def restored(namespace: str, old: str, run: str) -> bool:
    pod = counter.pod(namespace)
    said = ask(pod["status"].get("podIP", ""))
    current = pod["status"]["containerStatuses"][0].get("containerID")
    return current not in (None, old) and bool(said) and said is not None and said["run"] == run


def publish(namespace: str, pod: dict[str, Any]) -> str:
    """Take one checkpoint through the kubelet, store it, and name its image by digest."""
    name, node = pod["metadata"]["name"], pod["spec"]["nodeName"]
    path = Node(node).root / kubelet_checkpoint(node, f"/checkpoint/{namespace}/{name}/counter?timeout=60").lstrip("/")
    container_id = pod["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
    target = Target(node=node, pod=name, pod_uid=pod["metadata"]["uid"], container="counter", container_id=container_id)
    with tempfile.TemporaryDirectory() as folder:
        repository = Repository(store(), keys(Path(folder)))
        manifest = repository.write_archive(
            Path(path), checkpoint_id=checkpoint_id(target.pod_uid, "counter", now()),
            workload=Workload(namespace=namespace, name="counter"), target=target, trigger="demand",
        )  # fmt: skip
    image = repository.publish_image(manifest, target.pod_uid)
    return f"{image.reference.removesuffix(':live')}@{image.digest}"


def keys(folder: Path) -> SecretKeys:
    """The cluster's key-encryption keys, as a pod has them mounted."""
    for name, value in secret("reprise-keys").items():
        (folder / name).write_bytes(value)
    return SecretKeys(folder)


def kubelet_checkpoint(node: str, path: str) -> str:
    tls = ssl.create_default_context(cafile=str(PKI / "ca.crt"))
    tls.load_cert_chain(PKI / "admin.crt", PKI / "admin.key")
    connection = http.client.HTTPSConnection(NODES[node], 10250, context=tls, timeout=90)
    connection.request("POST", path)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {body[:500]!r}")
    return str(json.loads(body)["items"][0])


async def reap(node: str, pod_uid: str, stop: threading.Event) -> None:
    """Its dead containers are removed as soon as a listing shows them."""
    cri = Cri(f"{Node(node).root}/run/crio/crio.sock")
    while not stop.is_set():
        with contextlib.suppress(CriError):
            for container in await cri.list_containers("exited"):
                if container.pod_uid == pod_uid:
                    await cri.remove_container(container.id)
        await asyncio.sleep(POLL_S)
    await cri.close()
