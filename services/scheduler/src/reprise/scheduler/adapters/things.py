"""Kinds that Reprise does not protect, by their metadata alone."""

import contextlib
import json
from http import HTTPStatus
from typing import Any

from kubernetes.aio import client
from reprise.runtime.kube import event_on
from reprise.scheduler.misplaced import Thing

TIMEOUT_S = 10.0
METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
KINDS = (
    ("apps/v1", "ReplicaSet", "list_replica_set_for_all_namespaces"),
    ("apps/v1", "DaemonSet", "list_daemon_set_for_all_namespaces"),
    ("batch/v1", "Job", "list_job_for_all_namespaces"),
    ("batch/v1", "CronJob", "list_cron_job_for_all_namespaces"),
)
"""Each with the client's call that lists it."""


class KubernetesThings:
    """Implements misplaced.Things."""

    def __init__(self, api: client.ApiClient) -> None:
        self._core: Any = client.CoreV1Api(api)
        self._of = {"apps/v1": client.AppsV1Api(api), "batch/v1": client.BatchV1Api(api)}

    async def listed(self) -> list[Thing]:
        return [thing for version, kind, call in KINDS for thing in await self._listed(version, kind, call)]

    async def _listed(self, version: str, kind: str, call: str) -> list[Thing]:
        listing: Any = getattr(self._of[version], f"{call}_without_preload_content")
        answer = await listing(resource_version="0", _headers={"Accept": METADATA}, _request_timeout=TIMEOUT_S)
        body = await answer.read()
        if answer.status != HTTPStatus.OK:
            raise OSError(f"{kind}s cannot be listed: {answer.status} {body[:200]!r}")
        return [thing_of(version, kind, item["metadata"]) for item in json.loads(body).get("items") or []]

    async def tell(self, thing: Thing, message: str) -> None:
        subject = client.V1ObjectReference(
            api_version=thing.api_version, kind=thing.kind, name=thing.name, namespace=thing.namespace, uid=thing.uid
        )
        with contextlib.suppress(Exception):
            event = event_on(subject, "scheduler", "Warning", "BadAnnotation", message)
            await self._core.create_namespaced_event(thing.namespace, event)


def thing_of(version: str, kind: str, meta: dict[str, Any]) -> Thing:
    """Of an object's metadata as the API server's JSON has it."""
    owned = any(owner.get("controller") for owner in meta.get("ownerReferences") or [])
    return Thing(version, kind, meta["namespace"], meta["name"], meta["uid"], meta.get("annotations") or {}, owned)
