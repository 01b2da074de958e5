"""`http-sf`: a container without a livenessProbe gets one of ours."""

from typing import Any

from kubernetes.aio import client
from reprise.contracts.annotations import Policy
from reprise.contracts.model import Workload
from reprise.contracts.state import StateApi
from reprise.runtime.kube import protected

WORKLOAD = Workload(namespace="default", name="counter")


def liveness(api: StateApi, own: Any = None) -> Any:
    pod = client.V1Pod(
        metadata=client.V1ObjectMeta(name="p", namespace="default", uid="u1"),
        spec=client.V1PodSpec(containers=[client.V1Container(name="counter", image="counter:1", liveness_probe=own)]),
        status=client.V1PodStatus(pod_ip="10.0.0.1"),
    )
    return protected(pod, WORKLOAD, Policy(mode="http", state=api)).containers[0].liveness


def test_it_asks_for_the_state() -> None:
    probe = liveness(StateApi(path="/state", port=8080, probe=True))
    assert (probe.http_get.path, probe.http_get.port, probe.http_get.scheme, probe.tcp_socket) == ("/state", 8080, "HTTP", None)
    assert probe.failure_threshold * probe.period_seconds == 15


def test_where_headers_are_needed_that_it_does_not_know_it_only_connects() -> None:
    probe = liveness(StateApi(path="/state", port=8080, probe=True, headers="token"))
    assert (probe.http_get, probe.tcp_socket.port) == (None, 8080)


def test_a_probe_of_its_own_stays() -> None:
    own = client.V1Probe(tcp_socket=client.V1TCPSocketAction(port=1))
    assert liveness(StateApi(path="/state", port=8080, probe=True), own) is own


def test_http_alone_relies_on_the_pods_own() -> None:
    assert liveness(StateApi(path="/state", port=8080)) is None
