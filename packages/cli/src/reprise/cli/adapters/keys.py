"""The Secret of the key-encryption keys, and what the pods that mount it have of it. No key leaves the pods or is printed."""

import base64
from collections.abc import Callable
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream
from reprise.cli.rotation import Seen

TIMEOUT_S = (5, 20)  # connect, read
PENDING = "reprise.dev/next-key"
LOOK = "import os, sys; print(open(sys.argv[1] + '/active').read().strip(), *os.listdir(sys.argv[1]))"
Ask = Callable[[str, Callable[[], Any]], Any]


class KubeKeySecret:
    """Implements ports.KeySecret, with the user's rights to get and patch the Secret, list pods and exec."""

    def __init__(self, api: client.ApiClient, ask: Ask, namespace: str, name: str) -> None:
        self._core, self._ask = client.CoreV1Api(api), ask
        self._configuration, self._namespace, self._name = api.configuration, namespace, name

    def read(self) -> Seen:
        data = self._secret().data or {}
        active = base64.b64decode(data.get("active", "")).decode(errors="replace").strip()
        return Seen(active, frozenset(data) - {"active"})

    def pending(self) -> str:
        return str((self._secret().metadata.annotations or {}).get(PENDING, ""))

    def add(self, key_id: str, key: bytes) -> None:
        self._patch({key_id: base64.b64encode(key).decode()}, key_id)

    def switch(self, key_id: str) -> None:
        self._patch({"active": base64.b64encode(key_id.encode()).decode()}, key_id)

    def finish(self) -> None:
        self._patch({}, None)

    def pods(self) -> dict[str, Seen | None]:
        listing = self._core.list_namespaced_pod
        page = self._ask(f"pods in {self._namespace}", lambda: listing(self._namespace, _request_timeout=TIMEOUT_S))
        found: dict[str, Seen | None] = {}
        for pod in page.items:
            if pod.status.phase in ("Succeeded", "Failed"):
                continue
            if mounted := _mounted(pod, self._name):
                found[pod.metadata.name] = self._seen(pod.metadata.name, *mounted)
        return found

    def _secret(self) -> Any:
        read, what = self._core.read_namespaced_secret, f"Secret {self._name} in {self._namespace}"
        return self._ask(what, lambda: read(self._name, self._namespace, _request_timeout=TIMEOUT_S))

    def _patch(self, data: dict[str, str], pending: str | None) -> None:
        body = {"metadata": {"annotations": {PENDING: pending}}, "data": data}
        patch, what = self._core.patch_namespaced_secret, f"Secret {self._name} in {self._namespace}"
        self._ask(what, lambda: patch(self._name, self._namespace, body, _request_timeout=TIMEOUT_S))

    def _seen(self, pod: str, container: str, path: str) -> Seen | None:
        # A client of its own: the SDK's stream() swaps a method of the client that it is given.
        core = client.CoreV1Api(client.ApiClient(self._configuration))
        try:
            told = stream(
                core.connect_get_namespaced_pod_exec, pod, self._namespace, container=container,
                command=["python", "-c", LOOK, path], stdout=True, stderr=False, stdin=False, tty=False,
            )  # fmt: skip
        except ApiException as error:
            if error.status != 403:
                return None
            refused = error
        except OSError:
            return None
        else:
            active, *ids = str(told).split() or [""]
            return Seen(active, frozenset(ids) - {"active"}) if ids else None
        self._ask(f"pods/exec in {self._namespace}", lambda: _again(refused))
        return None


def _again(error: ApiException) -> None:
    raise error


def _mounted(pod: Any, secret: str) -> tuple[str, str] | None:
    """Container and folder."""
    volumes = {each.name for each in pod.spec.volumes or [] if each.secret and each.secret.secret_name == secret}
    for container in pod.spec.containers:
        for mount in container.volume_mounts or []:
            if mount.name in volumes:
                return container.name, mount.mount_path
    return None
