"""The example app on the lab: deploy it, find it, wait for it."""

import json
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from reprise.contracts.annotations import CHECKPOINT_NOW
from reprise.contracts.model import now

from reprise_lab import listing
from reprise_lab.kind import Cgroup, current
from reprise_lab.node import Node
from reprise_lab.paths import CHECKOUT
from reprise_lab.shell import LabError, kubectl, poll
from reprise_lab.witness import ask

EXAMPLES = CHECKOUT / "examples"
APP = "counter"
"""The example that is meant if none is named: each has a Deployment, a container and a label of its folder's name."""
SLOTS = "var/lib/reprise/slots"
"""On a node: where the engine's checkpoints lie (docs/node-files.md)."""
GROWS = {"LOG_FILE": "/data/log"}
"""The environment of one that appends to a file on an emptyDir: CRIU does not restore a process whose open file has grown."""
PLAIN = {"reprise.dev/mode": "off"}
"""The annotations of one that is not protected."""
Kind = Literal["Deployment", "StatefulSet", "Pod"]
INTERVAL_S = 10
"""Time between two checkpoints of the counter in tests. The example's 5 s suit a demo; here they would keep both cores busy."""
ASK_S = 0.3
"""Between two questions to the console: they cost what the machine has little of."""
ENDED = ("completed", "abandoned", "stepped-aside")
"""How a failover of the console's can end."""
LINGERS = {"LINGER_S": "2"}
"""The environment of one that goes on for a while when it is told to end: what should not run again would be seen to."""


def deploy(
    namespace: str, *, annotations: Mapping[str, str | None] | None = None, env: dict[str, str] | None = None,
    kind: Kind = "Deployment", container: Mapping[str, Any] | None = None, pod: Mapping[str, Any] | None = None, app: str = APP,
) -> None:  # fmt: skip
    """A fresh example in a namespace of its own; annotations (None removes one), env, and fields of the container's and the
    pod's spec override the example's. Returns when it serves.
    """
    remove(namespace)
    kubectl("create", "namespace", namespace)
    made = json.loads(kubectl("-n", namespace, "apply", "-k", str(EXAMPLES / app), "--dry-run=client", "-o", "json"))
    deployment = next(item for item in made["items"] if item["kind"] == "Deployment")
    slower = {"reprise.dev/interval": f"{INTERVAL_S}s"} if app == APP else {}
    told = deployment["metadata"]["annotations"] | slower | (annotations or {})
    deployment["metadata"]["annotations"] = {name: value for name, value in told.items() if value is not None}
    spec = deployment["spec"]["template"]["spec"]
    [made_container] = spec["containers"]
    own = {each["name"]: each.get("value", "") for each in made_container.get("env", [])}
    made_container["env"] = [{"name": k, "value": v} for k, v in (own | (env or {})).items()]
    if env and "BALLOON_MIB" in env:  # its checkpoint's pause would outlast the kubelet's patience: CHANGELOG, known limits
        made_container["livenessProbe"]["failureThreshold"] = 60
    if env and "LOG_FILE" in env:
        folder = str(PurePosixPath(env["LOG_FILE"]).parent)
        made_container.setdefault("volumeMounts", []).append({"name": "grows", "mountPath": folder})
        spec.setdefault("volumes", []).append({"name": "grows", "emptyDir": {}})
    made_container |= container or {}
    spec |= pod or {}
    made["items"] = [item for item in made["items"] if item is not deployment] + [_of_kind(deployment, kind)]
    kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(made))
    if kind == "Pod":
        kubectl("-n", namespace, "wait", "--for=condition=Ready", f"pod/{app}", "--timeout=60s")
    else:
        kubectl("-n", namespace, "rollout", "status", f"{kind.lower()}/{app}", "--timeout=60s")


def _of_kind(deployment: dict[str, Any], kind: Kind) -> dict[str, Any]:
    """The same pod, owned by something else, or by nobody."""
    if kind == "Pod":
        template = deployment["spec"]["template"]
        meta = template["metadata"] | {
            "name": deployment["metadata"]["name"],
            "annotations": deployment["metadata"]["annotations"],
        }
        return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]}
    if kind == "StatefulSet":
        spec = {name: deployment["spec"][name] for name in ("replicas", "selector", "template")}
        return deployment | {"kind": kind, "spec": spec | {"serviceName": deployment["metadata"]["name"]}}
    return deployment


def remove(namespace: str, *, wait: bool = True) -> None:
    kubectl("delete", "namespace", namespace, "--ignore-not-found", f"--wait={wait}".lower(), "--timeout=60s", check=False)


def pods(namespace: str, app: str = APP) -> list[dict[str, Any]]:
    """The app's pods that are not being deleted."""
    found = listing.pods(namespace, f"app={app}")
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def pod(namespace: str, app: str = APP) -> dict[str, Any]:
    """The only one."""
    found = pods(namespace, app)
    if len(found) != 1:
        raise LabError(f"{namespace} has {len(found)} pods of {app}, not one")
    return found[0]


def state(namespace: str, seconds: float = 10) -> dict[str, Any]:
    """Return the counter's state as a client sees it. Asks for up to `seconds`, since a checkpoint freezes a large counter."""
    said: dict[str, Any] = {}

    def answers() -> bool:
        said.update(ask(pod(namespace)["status"].get("podIP", ""), timeout_s=1) or {})
        return bool(said)

    poll(seconds, answers, f"the counter in {namespace} to answer", ASK_S)
    return said


def protected(namespace: str, app: str = APP) -> bool:
    """Whether its pod serves, a good checkpoint of that pod is live on its node, and no failover of it is under way."""
    found = pods(namespace, app)
    if len(found) != 1 or not ask(found[0]["status"].get("podIP", "")):
        return False
    rows = console(f"checkpoints?namespace={namespace}&state=stored&limit=10")
    if not any(row["pod"] == found[0]["metadata"]["name"] and row["held_at"] for row in rows):
        return False
    return all(row["state"] in ENDED for row in console(f"failovers?namespace={namespace}"))


def wait_protected(namespace: str, seconds: float = 40, app: str = APP) -> None:
    poll(seconds, lambda: protected(namespace, app), f"{app} in {namespace} to be protected", ASK_S)


def protect(namespace: str, kind: Kind = "Deployment", **told: Any) -> dict[str, Any]:
    """Its pod, on n1, with a good checkpoint. told: to deploy()."""
    deploy(namespace, kind=kind, env=LINGERS, **told)
    wait_protected(namespace)
    wait_checkpoint(namespace)
    return pod(namespace)


def slot(namespace: str, name: str = "live", app: str = APP) -> Path:
    """A checkpoint of its pod as it lies on its node; name: `live`, `previous` or a checkpoint's id."""
    found = pod(namespace, app)
    folder: Path = Node(found["spec"]["nodeName"]).root / SLOTS / namespace / found["metadata"]["uid"] / app
    link = folder / name
    return folder / link.readlink().name if link.is_symlink() else link


def damage(namespace: str, name: str = "live") -> str:
    """Cut a checkpoint's memory in half where it lies, as a bad disk would; returns its id."""
    found = slot(namespace, name)
    for pages in (found / "checkpoint").glob("pages-*.img"):
        with pages.open("r+b") as file:
            file.truncate(pages.stat().st_size // 2)
    return found.name


def console(path: str, seconds: float = 20) -> list[dict[str, Any]]:
    """GET the console's REST API through its service, which is away for a moment whenever what it needs is."""
    import urllib.request

    address = listing.service_address("console")
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(f"http://{address}:8080/api/v1/{path}", timeout=5) as answer:
                return list(json.loads(answer.read()))
        except OSError as error:
            if time.monotonic() > end:
                raise LabError(f"the console does not answer {path!r}: {error}") from error
            time.sleep(0.2)


def wait_checkpoint(namespace: str, after: str = "", seconds: float = 30) -> dict[str, Any]:
    """The newest checkpoint whose id is later than `after` that is in the store and live on its node."""
    found: list[dict[str, Any]] = []

    def newer() -> bool:
        rows = console(f"checkpoints?namespace={namespace}&state=stored&limit=1")
        found[:] = [row for row in rows if row["checkpoint_id"] > after and row["held_at"] and row["stored_at"]]
        return bool(found)

    poll(seconds, newer, f"a checkpoint of {namespace}", ASK_S)
    return found[0]


def ask_checkpoint(namespace: str) -> None:
    """One now, as `reprise checkpoint take` asks for it."""
    moment = now().isoformat(timespec="milliseconds")
    kubectl("-n", namespace, "annotate", "deployment", "counter", f"{CHECKPOINT_NOW}={moment}", "--overwrite")


def wait_failover(namespace: str, cause: str, seconds: float = 60, count: int = 1) -> dict[str, Any]:
    """The newest ended failover of that cause, once there are `count`."""
    found: list[dict[str, Any]] = []

    def ended() -> bool:
        rows = console(f"failovers?namespace={namespace}")
        found[:] = [r for r in rows if r["cause"] == cause and r["state"] in ENDED]
        return len(found) >= count

    poll(seconds, ended, f"the failover ({cause}) of {namespace} to end", ASK_S)
    return found[0]


def deploy_reprise() -> None:
    """`kubectl apply -k` the overlay of this lab, and wait until every service is ready."""
    overlay = "lab-three" if current().replicated else "lab-cgroup-v1" if current().cgroup is Cgroup.V1 else "lab"
    kubectl("apply", "-k", str(CHECKOUT / "deploy/overlays" / overlay))
    wait_reprise()


def wait_reprise() -> None:
    """Until every service is ready."""
    for kind, names in (
        ("deployment", ("scheduler", "restorer", "arbiter", "console")),
        ("daemonset", ("checkpointer", "transfer", "health-watcher")),
    ):
        for name in names:
            kubectl("-n", "reprise-system", "rollout", "status", f"{kind}/{name}", "--timeout=120s")


def restart_reprise() -> None:
    """After new images: start every service anew, and wait."""
    kubectl("-n", "reprise-system", "delete", "pods", "-l", "app.kubernetes.io/part-of=reprise", "--grace-period=2")
    time.sleep(1)
    deploy_reprise()
