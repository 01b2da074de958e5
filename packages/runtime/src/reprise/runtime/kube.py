"""Kubernetes: a client, an informer over what users annotated, and events that their owners read.

ProtectedPods joins a pod to the workload that owns it. Annotations on the workload count; where the workload is a
bare pod they are the pod's own. A bad value keeps the last valid policy in force (contracts.annotations).
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import aiohttp
from kubernetes.aio import client, config, watch
from kubernetes.aio.client import rest
from reprise.contracts import spelling
from reprise.contracts.annotations import RESTORED_GATE, Policy, Problem, parse, unread
from reprise.contracts.model import Target, Workload
from reprise.contracts.state import StateApi
from reprise.runtime.nodefiles import boottime_s
from reprise.runtime.owners import owner_of
from reprise.runtime.telemetry import log


async def connect() -> client.ApiClient:
    """In the cluster by the service account, elsewhere by kubeconfig."""
    try:
        config.load_incluster_config()  # type: ignore[no-untyped-call]
    except config.ConfigException:
        await config.load_kube_config()  # type: ignore[no-untyped-call]
    api = client.ApiClient()
    await api.rest_client.close()
    api.rest_client = _RestClient(api.configuration)
    return api


class _RestClient(rest.RESTClientObject):
    """Whose connections are asked for signs of life. A watch only reads: of a peer that is cut off it would learn nothing, and
    once it is back the peer sends again only as late as TCP's waiting has grown by then, a minute after a minute's cut.
    """

    def _create_connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(limit=self.maxsize, ssl=self.ssl_context, socket_factory=_kept_alive)


def _kept_alive(address: aiohttp.AddrInfoType) -> socket.socket:
    """Given up after 5 s and three questions, 2 s apart, that nobody answers."""
    made = socket.socket(*address[:3])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 5), (socket.TCP_KEEPINTVL, 2), (socket.TCP_KEEPCNT, 3)):
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 11_000)
    return made


LIST_TIMEOUT_S = 10
PROTECTED = "reprise.dev/Protected"
"""The pod condition that tells its owner whether it would come back with its state."""


@dataclass(frozen=True)
class ProtectedContainer:
    """One container that the policy protects, as the API server last reported it (which may be stale)."""

    name: str
    image: str
    container_id: str = ""
    running: bool = False
    ready: bool = False
    started: bool = False
    """Its kubelet has seen its startupProbe pass; it has none, and runs."""
    restart_count: int = 0
    started_at: datetime | None = None
    liveness: Any = None
    readiness: Any = None
    startup: Any = None
    ports: dict[str, int] = field(default_factory=dict)
    interactive: bool = False
    """Whether somebody may type into it: `stdin: true` or `tty: true`."""
    post_start: bool = False
    """It has a postStart hook, which its kubelet runs after each start, a restore too."""


@dataclass(frozen=True)
class ProtectedPod:
    """A pod of a protected workload."""

    workload: Workload
    policy: Policy
    namespace: str
    name: str
    uid: str
    node: str
    ip: str
    host_ip: str
    phase: str
    deleting: bool
    containers: tuple[ProtectedContainer, ...]
    gated: bool = False
    """Whether it lists the readiness gate reprise.dev/restored."""
    gate_message: str = ""
    """Of that condition, while it is True."""
    gate_closed_at: datetime | None = None
    """Since when that keeps it out of its Services; None: it does not."""
    condition: tuple[str, str] = ("", "")
    """Status and reason of its condition PROTECTED; empty if it has none. What its message says is left out: it changes often."""

    restart_policy: str = "Always"

    def target(self, container: ProtectedContainer | str) -> Target:
        found = next(c for c in self.containers if c.name == container) if isinstance(container, str) else container
        return Target(
            node=self.node or "-",
            pod=self.name,
            pod_uid=self.uid,
            container=found.name,
            container_id=found.container_id,
        )


@dataclass(frozen=True)
class AnyPod:
    """A pod, protected or not."""

    namespace: str
    name: str
    uid: str
    workload: Workload
    deleting: bool
    restart_policy: str
    annotations: Mapping[str, str]
    containers: tuple[str, ...]
    absent_at_s: float
    """A moment (CLOCK_BOOTTIME) at which the API server did not have it here yet; minus infinity: none is known."""
    runtime_uid: str
    """Its UID for the kubelet and the container runtime: of a static pod it is another one than the API server's."""
    ip: str = ""
    gated: bool = False
    """It lists the readiness gate reprise.dev/restored."""


OnChange = Callable[[ProtectedPod | None, ProtectedPod | None], None]
MIRROR = "kubernetes.io/config.mirror"


class ProtectedPods:
    """The informer. node: only that node's pods."""

    def __init__(self, api: client.ApiClient, node: str = "") -> None:
        self._core, self._apps, self._node = client.CoreV1Api(api), client.AppsV1Api(api), node
        self._policies: dict[Workload, Policy] = {}
        self._raw_pods: dict[str, Any] = {}
        self._listed: set[str] = set()
        self._callbacks: list[OnChange] = []
        self._on_any: list[Callable[[], None]] = []
        self._listing_began_s = float("-inf")
        """Of the last listing of pods that succeeded."""
        self.everything: dict[str, AnyPod] = {}
        """Every pod, protected or not, by the API server's UID."""
        self.pods: dict[str, ProtectedPod] = {}
        self.annotations: dict[Workload, dict[str, str]] = {}
        """Of Deployments and StatefulSets, as they are now: what their owners ask for."""
        self.problems: dict[Workload, tuple[Problem, ...]] = {}

    @property
    def synced(self) -> bool:
        return len(self._listed) == 3

    @property
    def protected(self) -> dict[Workload, tuple[str, ...]]:
        """Every workload whose policy protects it, with or without a pod; and the containers that the policy names."""
        return {workload: policy.containers for workload, policy in self._policies.items() if policy.protects}

    def with_container(self, uid: str, container: str) -> ProtectedPod | None:
        """This pod with this container, also if nobody protects it: a pod that a failover made is its workload's only once that
        has adopted it.
        """
        pod, raw = self.pods.get(uid), self._raw_pods.get(uid)
        if pod and any(c.name == container for c in pod.containers):
            return pod
        if raw is None or all(c.name != container for c in raw.spec.containers):
            return None
        return protected(raw, owner_of(raw), Policy(mode="criu", containers=(container,)))

    def on_change(self, callback: OnChange) -> None:
        """callback(before, after): None before means new, None after means gone or no longer protected."""
        self._callbacks.append(callback)

    def on_any(self, callback: Callable[[], None]) -> None:
        """Call it after every change of any pod, and of any policy."""
        self._on_any.append(callback)

    async def run(self) -> None:
        selector = {"field_selector": f"spec.nodeName={self._node}"} if self._node else {}
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow("Deployment", self._apps.list_deployment_for_all_namespaces, {}))
            group.create_task(self._follow("StatefulSet", self._apps.list_stateful_set_for_all_namespaces, {}))
            group.create_task(self._follow("Pod", self._core.list_pod_for_all_namespaces, selector))

    async def _follow(self, kind: str, listing: Any, options: dict[str, str]) -> None:
        known: dict[str, Any] = {}
        while True:
            try:
                # On a node that just booted the API server's service address leads nowhere until kube-proxy has its rules: a
                # connection tried then would wait for minutes.
                began_s = boottime_s()
                page = await listing(_request_timeout=LIST_TIMEOUT_S, **options)
                fresh = {item.metadata.uid: item for item in page.items}
                for uid in known.keys() - fresh.keys():
                    self._seen(kind, known[uid], gone=True)
                known = fresh
                for item in page.items:
                    self._seen(kind, item)
                self._listed.add(kind)
                if kind == "Pod":
                    self._listing_began_s = began_s
                self._tell_any()
                # The server ends a watch by itself after timeout_seconds: a half-open connection cannot hang it.
                async with watch.Watch() as stream:  # type: ignore[no-untyped-call]
                    async for event in stream.stream(
                        listing, resource_version=page.metadata.resource_version, timeout_seconds=240,
                        _request_timeout=300, **options,
                    ):  # fmt: skip
                        item, gone = event["object"], event["type"] == "DELETED"
                        if gone:
                            known.pop(item.metadata.uid, None)
                        else:
                            known[item.metadata.uid] = item
                        self._seen(kind, item, gone=gone)
                        self._tell_any()
            except asyncio.CancelledError:
                raise
            except Exception as error:
                log().warning("watch interrupted, listing again", kind=kind, error=repr(error))
                await asyncio.sleep(1)

    def _tell_any(self) -> None:
        for callback in self._on_any:
            callback()

    def _seen(self, kind: str, item: Any, *, gone: bool = False) -> None:
        if kind == "Pod":
            if gone:
                self._raw_pods.pop(item.metadata.uid, None)
                self.everything.pop(item.metadata.uid, None)
                bare = Workload.model_construct(namespace=item.metadata.namespace, kind=kind, name=item.metadata.name)
                self._policies.pop(bare, None)
            else:
                self._raw_pods[item.metadata.uid] = item
                known = self.everything.get(item.metadata.uid)
                # What was not in the last listing was not there when that began, whichever way it is first seen.
                self.everything[item.metadata.uid] = any_pod(item, known.absent_at_s if known else self._listing_began_s)
            self._refresh(item.metadata.uid)
            return
        workload = Workload.model_construct(namespace=item.metadata.namespace, kind=kind, name=item.metadata.name)
        before = self._policies.get(workload)
        if gone:
            self._policies.pop(workload, None)
            self.problems.pop(workload, None)
            self.annotations.pop(workload, None)
        else:
            self.annotations[workload] = dict(item.metadata.annotations or {})
            self._policies[workload] = self._parse(workload, item.metadata.annotations)
            template = item.spec.template.metadata.annotations if item.spec.template.metadata else None
            if found := unread(spelling.misplaced(template or {}, spelling.on_template(kind))):
                self.problems[workload] = (*self.problems.get(workload, ()), *found)
        if before != self._policies.get(workload):
            for uid, pod in list(self._raw_pods.items()):
                if owner_of(pod) == workload:
                    self._refresh(uid)

    def _parse(self, workload: Workload, annotations: dict[str, str] | None) -> Policy:
        parsed = parse(annotations or {}, self._policies.get(workload))
        if parsed.problems:
            self.problems[workload] = parsed.problems
        else:
            self.problems.pop(workload, None)
        return parsed.policy

    def _refresh(self, uid: str) -> None:
        before, pod = self.pods.get(uid), self._raw_pods.get(uid)
        after = None
        if pod is not None:
            workload = owner_of(pod)
            if workload.kind == "Pod":
                self._policies[workload] = self._parse(workload, pod.metadata.annotations)
            policy = self._policies.get(workload)
            after = protected(pod, workload, policy) if policy and policy.protects else None
        if after:
            self.pods[uid] = after
        else:
            self.pods.pop(uid, None)
        if before != after:
            for callback in self._callbacks:
                callback(before, after)


def any_pod(pod: Any, absent_at_s: float) -> AnyPod:
    """A V1Pod as AnyPod."""
    meta = pod.metadata
    annotations = dict(meta.annotations or {})
    return AnyPod(
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        workload=owner_of(pod),
        deleting=meta.deletion_timestamp is not None,
        restart_policy=pod.spec.restart_policy or "Always",
        annotations=annotations,
        containers=tuple(c.name for c in pod.spec.containers),
        absent_at_s=absent_at_s,
        runtime_uid=annotations.get(MIRROR, meta.uid),
        gated=is_gated(pod),
        ip=pod.status.pod_ip or "",
    )


async def protected_on(api: client.ApiClient, node: str = "") -> list[ProtectedPod]:
    """One listing of a node's protected pods, or of all, for who does not follow them."""
    core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
    policies: dict[Workload, Policy] = {}
    for kind, listing in (
        ("Deployment", apps.list_deployment_for_all_namespaces),
        ("StatefulSet", apps.list_stateful_set_for_all_namespaces),
    ):
        page: Any = await listing()
        for item in page.items:
            workload = Workload.model_construct(namespace=item.metadata.namespace, kind=kind, name=item.metadata.name)
            policies[workload] = parse(item.metadata.annotations or {}).policy
    found = []
    page = await core.list_pod_for_all_namespaces(field_selector=f"spec.nodeName={node}" if node else "")
    for pod in page.items:
        workload = owner_of(pod)
        policy = parse(pod.metadata.annotations or {}).policy if workload.kind == "Pod" else policies.get(workload)
        if policy and policy.protects:
            found.append(protected(pod, workload, policy))
    return found


def protected(pod: Any, workload: Workload, policy: Policy) -> ProtectedPod:
    """A V1Pod as ProtectedPod; the policy names its containers, or else it is the pod's first."""
    spec, status, meta = pod.spec, pod.status, pod.metadata
    names = policy.containers or (spec.containers[0].name,)
    states = {s.name: s for s in (status.container_statuses or [])}
    return ProtectedPod(
        workload=workload,
        policy=policy,
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        node=spec.node_name or "",
        ip=status.pod_ip or "",
        host_ip=status.host_ip or "",
        phase=status.phase or "",
        deleting=meta.deletion_timestamp is not None,
        containers=tuple(_probed(_container(c, states.get(c.name)), policy.state) for c in spec.containers if c.name in names),
        gated=is_gated(pod),
        gate_message=next(
            (c.message or "" for c in status.conditions or [] if (c.type, c.status) == (RESTORED_GATE, "True")), ""
        ),
        gate_closed_at=_gate_closed_at(pod),
        restart_policy=getattr(spec, "restart_policy", None) or "Always",
        condition=next(((c.status, c.reason or "") for c in status.conditions or [] if c.type == PROTECTED), ("", "")),
    )


def is_gated(pod: Any) -> bool:
    """Whether a V1Pod lists the readiness gate reprise.dev/restored."""
    return any(gate.condition_type == RESTORED_GATE for gate in pod.spec.readiness_gates or [])


def _gate_closed_at(pod: Any) -> datetime | None:
    """A pod whose condition nobody has written yet was never in a Service."""
    if not is_gated(pod):
        return None
    created: datetime | None = pod.metadata.creation_timestamp
    found = next((c for c in pod.status.conditions or [] if c.type == RESTORED_GATE), None)
    if found is None:
        return created
    return None if found.status == "True" else found.last_transition_time or created


async def set_condition(
    api: client.ApiClient, namespace: str, pod: str, kind: str, true: bool, reason: str, message: str, *, changed: bool = True
) -> None:
    """A condition of a pod's status. changed: whether its status is; if not, it says since when it is so as before. Raises
    ApiException; OSError or TimeoutError if there is no answer within 2 s.
    """
    condition = {"type": kind, "status": str(true), "reason": reason, "message": message[:1024]}
    if changed:
        condition["lastTransitionTime"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    core: Any = client.CoreV1Api(api)
    await core.patch_namespaced_pod_status(
        pod, namespace, {"status": {"conditions": [condition]}},
        _content_type="application/strategic-merge-patch+json", _request_timeout=2,
    )  # fmt: skip


def _container(spec: Any, status: Any) -> ProtectedContainer:
    running = status.state.running if status and status.state else None
    return ProtectedContainer(
        name=spec.name,
        image=spec.image,
        container_id=(status.container_id or "").rpartition("/")[2] if status else "",
        running=running is not None,
        ready=bool(status and status.ready),
        started=bool(status and status.started),
        restart_count=status.restart_count if status else 0,
        started_at=running.started_at if running else None,
        liveness=spec.liveness_probe,
        readiness=spec.readiness_probe,
        startup=spec.startup_probe,
        ports={p.name: p.container_port for p in spec.ports or [] if p.name},
        interactive=bool(spec.stdin or spec.tty),
        post_start=bool(spec.lifecycle and spec.lifecycle.post_start),
    )


def _probed(container: ProtectedContainer, api: StateApi | None) -> ProtectedContainer:
    """With a livenessProbe of ours, if it has none and is to have one (`http-sf`). What its headers are is not known here."""
    if api is None or not api.probe or container.liveness:
        return container
    get = client.V1HTTPGetAction(path=api.path, port=api.port, scheme=api.scheme.upper())
    connect = client.V1TCPSocketAction(port=api.port)
    probe = client.V1Probe(
        http_get=None if api.headers else get, tcp_socket=connect if api.headers else None,
        period_seconds=5, timeout_seconds=5, failure_threshold=3,
    )  # fmt: skip
    return replace(container, liveness=probe)


def event_on(subject: client.V1ObjectReference, component: str, type_: str, reason: str, message: str) -> client.CoreV1Event:
    """An Event of this moment. type_: Normal or Warning; message: at most 1,024 characters are kept."""
    stamp = datetime.now(UTC)
    return client.CoreV1Event(
        metadata=client.V1ObjectMeta(generate_name=f"{subject.name}."), involved_object=subject, type=type_, reason=reason,
        message=message[:1024], first_timestamp=stamp, last_timestamp=stamp, count=1,
        source=client.V1EventSource(component=f"reprise-{component}"), reporting_component=f"reprise.dev/{component}",
        reporting_instance=component,
    )  # fmt: skip


class EventRecorder:
    """Kubernetes Events on a workload: what its owner must know. Never raises; repeats are sent once a minute."""

    REPEAT_S = 60.0

    def __init__(self, api: client.ApiClient, component: str) -> None:
        self._core, self._apps, self._component = client.CoreV1Api(api), client.AppsV1Api(api), component
        self._sent: dict[tuple[Workload, str, str], float] = {}

    async def record(self, workload: Workload, type_: str, reason: str, message: str) -> None:
        """type_: Normal or Warning; reason: CamelCase; message: at most 1,024 characters are kept."""
        known = (workload, reason, message)
        if time.monotonic() - self._sent.get(known, float("-inf")) < self.REPEAT_S:
            return
        self._sent[known] = time.monotonic()
        if len(self._sent) > 10_000:
            self._sent.clear()
        with contextlib.suppress(Exception):
            body = event_on(await self._reference(workload), self._component, type_, reason, message)
            await self._core.create_namespaced_event(workload.namespace, body)

    async def _reference(self, workload: Workload) -> client.V1ObjectReference:
        read: Any = {
            "Deployment": self._apps.read_namespaced_deployment,
            "StatefulSet": self._apps.read_namespaced_stateful_set,
            "Pod": self._core.read_namespaced_pod,
        }[workload.kind]
        found = await read(workload.name, workload.namespace)
        return client.V1ObjectReference(
            api_version="v1" if workload.kind == "Pod" else "apps/v1",
            kind=workload.kind,
            name=workload.name,
            namespace=workload.namespace,
            uid=found.metadata.uid,
        )
