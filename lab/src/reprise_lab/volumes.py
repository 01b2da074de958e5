"""The persistent volumes of a lab with three nodes: what `overlays/production` claims, and no cluster of ours provisions.

A local volume per claim lies on its node's disk, and so outlives a power cut as that does.
"""

import json
from collections.abc import Iterator
from typing import Any

from reprise_lab.node import Node
from reprise_lab.paths import NODES
from reprise_lab.shell import kubectl

FOLDER = "/var/lib/kubelet/lab-volumes"
"""On a node's own disk: its root is an overlay."""
EACH = 3
"""On every node: NATS takes one, the store two."""
CLASS = "lab-local"


def provide() -> None:
    """Make the folders, and tell the API server of them."""
    for name in NODES:
        for number in range(EACH):
            (Node(name).root / FOLDER.lstrip("/") / str(number)).mkdir(parents=True, exist_ok=True)
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests())}))


def manifests() -> Iterator[dict[str, Any]]:
    """The default class, and every volume. A claim waits for its pod's node: one that was bound before could be elsewhere."""
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    yield {
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": CLASS, "annotations": default},
        "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer",
    }  # fmt: skip
    for name in NODES:
        here = [{"key": "kubernetes.io/hostname", "operator": "In", "values": [name]}]
        for number in range(EACH):
            yield {
                "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"{name}-{number}"},
                "spec": {
                    "capacity": {"storage": "20Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": CLASS,
                    "persistentVolumeReclaimPolicy": "Retain", "local": {"path": f"{FOLDER}/{number}"},
                    "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": here}]}},
                },
            }  # fmt: skip
