"""The Secret of the keys at the API server, and what of it a pod has; and the other new questions of the CLI's adapters."""

import base64
import socket
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from kubernetes import client
from reprise.cli.adapters import keys
from reprise.cli.adapters.console import HttpConsole
from reprise.cli.adapters.forward import Forward
from reprise.cli.ports import ClusterError, ConsoleError
from reprise.cli.rotation import Seen


def pod(name: str, secret: str, phase: str = "Running") -> client.V1Pod:
    mounts = [client.V1VolumeMount(name="tmp", mount_path="/tmp"), client.V1VolumeMount(name="keys", mount_path="/keys")]
    volumes = [
        client.V1Volume(name="tmp", empty_dir=client.V1EmptyDirVolumeSource()),
        client.V1Volume(name="keys", secret=client.V1SecretVolumeSource(secret_name=secret)),
    ]
    containers = [client.V1Container(name="transfer", volume_mounts=mounts)]
    spec = client.V1PodSpec(containers=containers, volumes=volumes)
    return client.V1Pod(metadata=client.V1ObjectMeta(name=name), spec=spec, status=client.V1PodStatus(phase=phase))


class Core:
    """Of one Secret and some pods. patched: bodies."""

    def __init__(self) -> None:
        self.data = {"active": base64.b64encode(b"k1\n").decode(), "k1": "eA=="}
        self.annotations: dict[str, str] = {keys.PENDING: "k2"}
        self.listed = [pod("transfer-a", "reprise-keys"), pod("other", "elsewhere"), pod("over", "reprise-keys", "Succeeded")]
        self.patched: list[dict[str, Any]] = []

    def read_namespaced_secret(self, name: str, namespace: str, **_: Any) -> Any:
        assert (name, namespace) == ("reprise-keys", "reprise-system")
        return SimpleNamespace(data=self.data, metadata=SimpleNamespace(annotations=self.annotations))

    def patch_namespaced_secret(self, name: str, namespace: str, body: dict[str, Any], **_: Any) -> None:
        self.patched.append(body)

    def list_namespaced_pod(self, namespace: str, **_: Any) -> Any:
        return SimpleNamespace(items=self.listed)


@pytest.fixture
def core() -> Core:
    return Core()


@pytest.fixture
def secret(core: Core) -> keys.KubeKeySecret:
    made = keys.KubeKeySecret(client.ApiClient(), lambda _, act: act(), "reprise-system", "reprise-keys")
    made._core = core
    return made


def test_it_is_read_by_ids_and_patched_one_step_at_a_time(secret: keys.KubeKeySecret, core: Core) -> None:
    assert secret.read() == Seen("k1", frozenset({"k1"}))
    assert secret.pending() == "k2"
    secret.add("k2", b"key")
    secret.switch("k2")
    secret.finish()
    added, switched, finished = core.patched
    assert added["data"] == {"k2": base64.b64encode(b"key").decode()}, "the active one stays the active one"
    assert switched["data"] == {"active": base64.b64encode(b"k2").decode()}
    assert finished == {"metadata": {"annotations": {keys.PENDING: None}}, "data": {}}


def test_each_pod_that_mounts_it_is_asked_for_names_alone(secret: keys.KubeKeySecret, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, list[str]]] = []

    def stream(_: Any, name: str, namespace: str, *, container: str, command: list[str], **__: Any) -> str:
        asked.append((name, container, command[-1:]))
        return "k1 active k1 k2 ..data\n"

    monkeypatch.setattr(keys, "stream", stream)
    found = secret.pods()
    assert asked == [("transfer-a", "transfer", ["/keys"])]
    assert found["transfer-a"]
    assert found["transfer-a"].active == "k1"
    assert {"k1", "k2"} <= found["transfer-a"].ids


@pytest.mark.parametrize("status", [500, 403])
def test_a_pod_that_cannot_be_asked_has_not_seen_it_but_a_missing_right_is_told(
    secret: keys.KubeKeySecret, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    def stream(*_: Any, **__: Any) -> str:
        raise keys.ApiException(status=status)

    monkeypatch.setattr(keys, "stream", stream)
    if status == 403:
        with pytest.raises(keys.ApiException):
            secret.pods()
    else:
        assert secret.pods() == {"transfer-a": None}


def test_a_port_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ClusterError, match="cannot be listened on"):
        Forward(SimpleNamespace(), "reprise-system", "console-1", 8080, taken.getsockname()[1])


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, {"detail": "no event has told of a node n9"}, "no event has told of a node n9"),
        (404, {"detail": "Not Found"}, "it does not know what is asked for"),
        (200, [], "what answers is no console"),
    ],
)
def test_a_forecast_that_cannot_be_had(status: int, body: Any, said: str) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(status, json=body))
    with pytest.raises(ConsoleError, match=said):
        HttpConsole("http://console", transport=transport).forecast("n9")


def test_a_forecast_is_asked_for_by_the_nodes_name() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.raw_path == b"/api/v1/nodes/n1/forecast"
        return httpx.Response(200, json={"node": "n1", "decided": True, "workloads": []})

    assert HttpConsole("http://console", transport=httpx.MockTransport(answer)).forecast("n1")["decided"]
