"""The cluster, by the user's kubeconfig and with the user's rights."""

import base64
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from reprise.archive.damage import Copies
from reprise.cli.adapters.copies import NodeCopies
from reprise.cli.adapters.forward import Forward
from reprise.cli.adapters.keys import KubeKeySecret
from reprise.cli.adapters.mover import KubeMover
from reprise.cli.adapters.objects import KubeObjects
from reprise.cli.adapters.support import KubeSupport
from reprise.cli.ports import ClusterError

TIMEOUT_S = (5, 20)  # connect, read
T = TypeVar("T")


class KubeCluster:
    """kubeconfig, context: empty means kubectl's own choice. Raises ClusterError."""

    def __init__(self, kubeconfig: str = "", context: str = "") -> None:
        kubeconfig = kubeconfig or os.environ.get("KUBECONFIG", "")
        try:
            known, active = config.list_kube_config_contexts(kubeconfig or None)  # type: ignore[no-untyped-call]
            options = {"config_file": kubeconfig or None, "context": context or None}
            self._api = config.new_client_from_config(**options)  # type: ignore[no-untyped-call]
        except (config.ConfigException, OSError, ValueError, TypeError, yaml.YAMLError) as error:
            raise ClusterError(
                f"no cluster can be found: {_first_line(error).removeprefix('Invalid kube-config file. ')}",
                subject=f"kubeconfig {kubeconfig}".strip(),
                remedy="set KUBECONFIG or --kubeconfig; or REPRISE_STORE_ENDPOINT or REPRISE_CONSOLE_URL to go without a cluster",
            ) from error
        chosen = next((each for each in known if each["name"] == context), active)
        self._api.configuration.retries = False  # an API server that is away is told at once
        self._namespace = ((chosen or {}).get("context") or {}).get("namespace") or "default"
        self._core = client.CoreV1Api(self._api)

    @property
    def namespace(self) -> str:
        return self._namespace

    def has_namespace(self, name: str) -> bool:
        try:
            self._ask(f"namespace {name}", lambda: self._core.read_namespace(name, _request_timeout=TIMEOUT_S))
        except ClusterError as error:
            if error.reason == "NotFound":
                return False
            if error.reason != "Forbidden":
                raise
        return True  # also where it may not be asked: then nobody can say that it is wrong

    def secret(self, namespace: str, name: str) -> dict[str, bytes]:
        found = self._ask(
            f"Secret {name} in {namespace}",
            lambda: self._core.read_namespaced_secret(name, namespace, _request_timeout=TIMEOUT_S),
        )
        return {key: base64.b64decode(value) for key, value in (found.data or {}).items()}

    @contextmanager
    def forward(self, namespace: str, service: str, port: int, local: int = 0) -> Iterator[str]:
        pod, pod_port = self._behind(namespace, service, port)
        with Forward(self._api.configuration, namespace, pod, pod_port, local) as address:
            yield address

    def copies(self, namespace: str) -> Copies:
        pods = self._pods(namespace, "app.kubernetes.io/name=transfer", "the pods of transfer")
        return NodeCopies(self._api.configuration, namespace, [pod.metadata.name for pod in pods])

    def mover(self) -> "KubeMover":
        return KubeMover(self._api, self._ask)

    def objects(self) -> KubeObjects:
        return KubeObjects(self._api, self._ask)

    def key_secret(self, namespace: str, name: str) -> KubeKeySecret:
        return KubeKeySecret(self._api, self._ask, namespace, name)

    def support(self, namespace: str) -> KubeSupport:
        return KubeSupport(self._api, self._ask, namespace)

    def _behind(self, namespace: str, service: str, port: int) -> tuple[str, int]:
        """A ready pod of the service, and its own number for the service's port."""
        what = f"service {service} in {namespace}"
        found = self._ask(what, lambda: self._core.read_namespaced_service(service, namespace, _request_timeout=TIMEOUT_S))
        selector = ",".join(f"{key}={value}" for key, value in (found.spec.selector or {}).items())
        ready = [pod for pod in self._pods(namespace, selector, what) if _is_ready(pod)] if selector else []
        if not ready:
            raise ClusterError(
                "no pod of it is ready", subject=what, remedy=f"`kubectl -n {namespace} get pods -l {selector}` shows why"
            )
        target = next((p.target_port for p in found.spec.ports if p.port == port), port)
        return ready[0].metadata.name, _number(ready[0], target, port)

    def _pods(self, namespace: str, selector: str, what: str) -> list[Any]:
        page = self._ask(
            what, lambda: self._core.list_namespaced_pod(namespace, label_selector=selector, _request_timeout=TIMEOUT_S)
        )
        return list(page.items)

    def _ask(self, what: str, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except ApiException as error:
            raise _told(what, error) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ClusterError(
                f"{self._api.configuration.host} does not answer: {_cause(error)}", subject="API server",
                remedy="`kubectl cluster-info` tries the same connection", retryable=True,
            ) from error  # fmt: skip


def _told(what: str, error: ApiException) -> ClusterError:
    try:
        status = json.loads(error.body or "{}")
    except ValueError:
        status = {}
    reason, message = str(status.get("reason", error.reason)), str(status.get("message", error.reason))
    remedy = {
        401: "your kubeconfig's credentials are not accepted: log in again",
        403: "ask for the right, or have somebody run this who has it",
        404: "is Reprise deployed in this cluster? REPRISE_SYSTEM_NAMESPACE says where to look"
        if what.startswith(("service ", "Secret "))
        else "it is gone: `kubectl get` shows what there is",
    }.get(error.status, "`kubectl cluster-info` tries the same connection")
    return ClusterError(message, subject=what, remedy=remedy, reason=reason, retryable=error.status >= 500)


def _is_ready(pod: Any) -> bool:
    conditions = pod.status.conditions or []
    return pod.metadata.deletion_timestamp is None and any(c.type == "Ready" and c.status == "True" for c in conditions)


def _number(pod: Any, target: int | str | None, port: int) -> int:
    if isinstance(target, int) or target is None:
        return target or port
    ports = [p for container in pod.spec.containers for p in container.ports or []]
    return next((int(p.container_port) for p in ports if p.name == target), port)


def _cause(error: BaseException) -> str:
    """What is at the bottom, without urllib3's wrapping."""
    reason = getattr(error, "reason", None)
    return _first_line(reason if isinstance(reason, BaseException) else error)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
