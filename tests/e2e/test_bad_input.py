"""What cannot work is told, on the workload and in an event, with its reason and a remedy; and nothing else suffers."""

import asyncio
import shutil
import signal
import time
from pathlib import Path

import pytest
from reprise.checkpointer.adapters.kubelet import HttpsKubelet
from reprise.checkpointer.decide import Failure, Refusal, explain
from reprise.contracts import envelope, subjects
from reprise.contracts.events import CheckpointTaken
from reprise.contracts.model import Target, Workload, checkpoint_id, now
from reprise_lab import counter, faults, listing, nats
from reprise_lab.node import Node
from reprise_lab.paths import NODES, PKI
from reprise_lab.shell import kubectl, poll
from reprise_lab.witness import Witness

pytestmark = pytest.mark.e2e

CHECKPOINTS = Path("var/lib/kubelet/checkpoints")


def told(namespace: str, reason: str, text: str = "") -> list[str]:
    return [message for message in listing.told(namespace, reason) if text in message]


def wait_told(namespace: str, reason: str, text: str = "", seconds: float = 30) -> str:
    poll(seconds, lambda: bool(told(namespace, reason, text)), f"the Event {reason} with {text!r} in {namespace}", 0.3)
    return told(namespace, reason, text)[0]


GO_SERVER = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: server, annotations: {reprise.dev/mode: criu, reprise.dev/interval: 3s}}
spec:
  selector: {matchLabels: {app: server}}
  template:
    metadata: {labels: {app: server}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - {name: server, image: "localhost/nats:lab", imagePullPolicy: Never, ports: [{name: nats, containerPort: 4222}],
         readinessProbe: {tcpSocket: {port: nats}, periodSeconds: 1}}
"""


def test_a_go_server_is_told_which_variable_makes_it_checkpointable(namespace: str) -> None:
    """Go >= 1.24 listens with MPTCP, which CRIU cannot dump: the cause is in CRIU's own log only."""
    kubectl("create", "namespace", namespace)
    kubectl("-n", namespace, "apply", "-f", "-", stdin=GO_SERVER)
    message = wait_told(namespace, "CheckpointFailed", "MptcpSocket")
    assert "GODEBUG=multipathtcp=0" in message
    kubectl("-n", namespace, "set", "env", "deployment/server", "GODEBUG=multipathtcp=0")
    counter.wait_checkpoint(namespace, seconds=60)


def kubelet(tmp_path: Path, token: str, ca: Path = PKI / "ca.crt") -> HttpsKubelet:
    file = tmp_path / "token"
    file.write_text(token)
    return HttpsKubelet(NODES["n1"], 10250, ca, file, 10)


def ask(tmp_path: Path, token: str, target: Target, namespace: str, ca: Path = PKI / "ca.crt") -> str:
    async def call() -> str | Refusal | Failure:
        return await kubelet(tmp_path, token, ca).checkpoint(namespace, target)

    told = asyncio.run(call())
    answer = explain(told.status, told.body) if isinstance(told, Refusal) else told
    assert isinstance(answer, Failure)
    assert answer.remedy
    return answer.reason


def test_a_kubelets_refusals_are_told_apart(namespace: str, tmp_path: Path) -> None:
    counter.deploy(namespace, annotations={"reprise.dev/mode": "off"})
    pod = counter.pod(namespace)
    target = Target(node="n1", pod=pod["metadata"]["name"], pod_uid=pod["metadata"]["uid"], container="counter")
    stranger = kubectl("-n", namespace, "create", "token", "default").strip()
    entitled = kubectl("-n", "reprise-system", "create", "token", "reprise-checkpointer").strip()
    nobody = target.model_copy(update={"container": "nobody"})
    assert ask(tmp_path, "nonsense", target, namespace) == "Unauthorized"
    assert ask(tmp_path, stranger, target, namespace) == "Forbidden"
    assert ask(tmp_path, entitled, nobody, namespace) == "ContainerNotFound"
    other_ca = Path("/etc/ssl/certs/ca-certificates.crt")
    assert ask(tmp_path, entitled, target, namespace, other_ca) == "KubeletCertificate"


@pytest.mark.parametrize("left", ["nothing", "half its memory"])
def test_a_slot_that_is_no_whole_checkpoint_is_refused_with_its_reason_and_never_restored(
    protected_counter: Witness, left: str
) -> None:
    namespace, run = protected_counter.namespace, protected_counter.last().run
    pod, good = counter.pod(namespace), counter.slot(namespace)
    target = Target(node="n1", pod=pod["metadata"]["name"], pod_uid=pod["metadata"]["uid"], container="counter")
    name = checkpoint_id(target.pod_uid, "counter", now())
    broken = good.with_name(name)
    if left == "nothing":
        broken.mkdir()
    else:
        shutil.copytree(good, broken)
        counter.damage(namespace, name)
    event = CheckpointTaken(
        node="n1", workload=Workload(namespace=namespace, name="counter"), checkpoint_id=name, target=target,
        trigger="demand", archive_path=f"/{CHECKPOINTS}/checkpoint-broken.tar", keep=3, kubelet_started_at=now(),
        kubelet_s=0.1, due_to_kubelet_s=0.0, slot=f"{namespace}/{target.pod_uid}/counter/{name}", pause_s=0.1,
    )  # fmt: skip
    asyncio.run(publish(subjects.of(event), envelope.encode(event, source="test")[1]))

    def refused() -> bool:
        rows = counter.console(f"checkpoints?namespace={namespace}&state=failed")
        return name in {row["checkpoint_id"] for row in rows if row["reason"] and row["message"] and row["remedy"]}

    poll(30, refused, f"checkpoint {name} to be told as failed", 0.2)
    assert wait_told(namespace, "CheckpointFailed")
    poll(10, lambda: not broken.exists(), "the broken slot to be thrown away")
    newest = counter.wait_checkpoint(namespace, after=name)["checkpoint_id"]
    faults.pod_signal(target.pod_uid, signal.SIGKILL)
    protected_counter.after_gap(run, time.monotonic(), 20)
    assert counter.wait_failover(namespace, "crash")["checkpoint_id"] >= newest


async def publish(subject: str, payload: bytes) -> None:
    client = await nats.connect()
    await client.jetstream().publish(subject, payload)
    await client.close()


def test_a_pod_that_disappears_while_it_is_checkpointed_is_no_checkpoint(namespace: str) -> None:
    """A large one, so that there is a while to disappear in; what is left of its archive goes too."""
    counter.deploy(namespace, annotations={"reprise.dev/interval": "60s"}, env={"BALLOON_MIB": "600"})
    counter.wait_checkpoint(namespace, seconds=90)
    old, slots = counter.pod(namespace)["metadata"]["name"], counter.slot(namespace).parent
    begun: list[str] = []

    def in_progress() -> bool:
        rows = counter.console(f"checkpoints?namespace={namespace}&limit=1")
        begun[:] = [row["checkpoint_id"] for row in rows if row["trigger"] == "demand" and row["state"] == "due"]
        return bool(begun)

    counter.ask_checkpoint(namespace)
    poll(30, in_progress, "the checkpoint that was asked for to begin", 0.02)
    kubectl("-n", namespace, "delete", "pod", old, "--grace-period=0", "--force")

    def ended() -> bool:
        rows = counter.console(f"checkpoints?namespace={namespace}&state=failed")
        return begun[0] in {r["checkpoint_id"] for r in rows if r["reason"] and r["message"]}

    poll(60, ended, f"checkpoint {begun[0]} to be told as failed", 0.3)
    counter.wait_checkpoint(namespace, after=begun[0], seconds=60)
    assert counter.pod(namespace)["metadata"]["name"] != old
    poll(20, lambda: not left(old, slots), f"what {old} left half done to be gone", 0.5)


def left(pod: str, slots: Path) -> list[str]:
    """Stubs of archives, and slots that were not finished."""
    return [path.name for path in (*(Node("n1").root / CHECKPOINTS).glob(f"checkpoint-{pod}_*"), *slots.glob("*.partial"))]
