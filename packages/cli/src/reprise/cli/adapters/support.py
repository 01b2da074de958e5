"""What the API server, Reprise's pods and their nodes tell for a support bundle. No request here is for a Secret."""

import json
from collections.abc import Callable
from typing import Any, cast

import httpx
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream
from reprise.cli.adapters.forward import Forward
from reprise.cli.ports import ClusterError

TIMEOUT_S = (5, 30)  # connect, read
LOG_BYTES = 5 << 20
"""Of each container, the newest."""
Ask = Callable[[str, Callable[[], Any]], Any]

LOOK = """
import collections, json, os
def read(path):
    try:
        return json.load(open(path))
    except (OSError, ValueError) as error:
        return {"error": type(error).__name__}
def names(path):
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []
run, slots = "/run/reprise", "/var/lib/reprise/slots"
pods = [read(f"{run}/pods/{name}") for name in names(f"{run}/pods")]
verdicts = collections.Counter(c.get("verdict", "?") for pod in pods for c in (pod.get("containers") or {}).values())
held = []
for folder, folders, files in os.walk(slots):
    if "slot.json" in files:
        size = sum(os.lstat(os.path.join(at, f)).st_size for at, _, inside in os.walk(folder) for f in inside)
        held.append({"slot": os.path.relpath(folder, slots), "bytes": size})
        folders.clear()
disk = os.statvfs("/var/lib/reprise")
print(json.dumps({
    "node.json": read(f"{run}/node.json"), "pods": len(pods), "verdicts": verdicts, "starts": len(names(f"{run}/starts")),
    "slots": held, "disk": {"bytes": disk.f_blocks * disk.f_frsize, "free": disk.f_bavail * disk.f_frsize},
}, indent=2))
"""
"""Counts and sizes: a slot's own files are memory, and its slot.json has command lines."""


class KubeSupport:
    """Implements ports.Support, with the user's rights."""

    def __init__(self, api: client.ApiClient, ask: Ask, namespace: str) -> None:
        self._api, self._ask, self._namespace = api, ask, namespace
        self._core, self._apps = client.CoreV1Api(api), client.AppsV1Api(api)

    def version(self) -> dict[str, Any]:
        return self._plain(self._ask("API server", lambda: client.VersionApi(self._api).get_code(_request_timeout=TIMEOUT_S)))

    def nodes(self) -> list[dict[str, Any]]:
        return self._items("nodes", lambda: self._core.list_node(_request_timeout=TIMEOUT_S))

    def objects(self) -> dict[str, list[dict[str, Any]]]:
        leases: Any = client.CoordinationV1Api(self._api)
        listings: dict[str, Any] = {
            "pods": self._core.list_namespaced_pod, "deployments": self._apps.list_namespaced_deployment,
            "daemonsets": self._apps.list_namespaced_daemon_set, "statefulsets": self._apps.list_namespaced_stateful_set,
            "leases": leases.list_namespaced_lease,
        }  # fmt: skip
        return {
            kind: self._items(f"{kind} in {self._namespace}", lambda each=each: each(self._namespace, _request_timeout=TIMEOUT_S))  # type: ignore[misc]
            for kind, each in listings.items()
        }

    def events(self) -> list[dict[str, Any]]:
        what, listing = f"events in {self._namespace}", self._core.list_namespaced_event
        return self._items(what, lambda: listing(self._namespace, _request_timeout=TIMEOUT_S))

    def logs(self, pod: str, container: str, *, previous: bool, since_s: int) -> str:
        try:
            told: Any = self._core.read_namespaced_pod_log(
                pod, self._namespace, container=container, previous=previous, since_seconds=since_s, limit_bytes=LOG_BYTES,
                timestamps=True, _request_timeout=TIMEOUT_S, _preload_content=False,
            )  # fmt: skip
            return cast(bytes, told.data).decode(errors="replace")
        except ApiException as error:
            if previous and error.status == 400:  # there was no instance before
                return ""
            refused = error
        self._ask(f"logs of pod {pod}", lambda: _again(refused))
        return ""

    def metrics(self, pod: str, port: int) -> str:
        with Forward(self._api.configuration, self._namespace, pod, port) as address:
            try:
                answer = httpx.get(f"http://{address}/metrics", timeout=20)
                answer.raise_for_status()
            except httpx.HTTPError as error:
                raise ClusterError(f"no metrics: {error or type(error).__name__}", subject=f"pod {pod}") from error
            return answer.text

    def node_files(self, pod: str) -> str:
        core = client.CoreV1Api(client.ApiClient(self._api.configuration))  # the SDK's stream() swaps a method of its client
        told = self._ask(f"pods/exec of {pod}", lambda: stream(
            core.connect_get_namespaced_pod_exec, pod, self._namespace, command=["python", "-c", LOOK],
            stdout=True, stderr=False, stdin=False, tty=False, _preload_content=False, binary=False,
        ))  # fmt: skip
        told.run_forever(timeout=60)
        return str(told.read_stdout())

    def _items(self, what: str, listing: Callable[[], Any]) -> list[dict[str, Any]]:
        return [self._plain(item) for item in self._ask(what, listing).items]

    def _plain(self, made: Any) -> dict[str, Any]:
        return cast(dict[str, Any], json.loads(json.dumps(cast(Any, self._api).sanitize_for_serialization(made))))


def _again(error: ApiException) -> None:
    raise error
