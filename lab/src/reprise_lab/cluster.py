"""The whole lab: up, down, status."""

import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from reprise_lab import build, containerd, control_plane, host, images, kind, nats, network, node, pki, preflight, volumes
from reprise_lab.lock import OWNER
from reprise_lab.node import Node
from reprise_lab.paths import BRIDGE, CGROUP, CHECKOUT, CONTROLLERS, HOME, INFRA_NODE, KUBECONFIG, NETNS, NODES, RUN
from reprise_lab.shell import LabError, gone, kubectl, poll

OVERLAYS = CHECKOUT / "deploy/overlays"
NAMESPACE = OVERLAYS / "lab/infra/single/namespace.yaml"


def up(chosen: kind.Kind, *, with_images: bool = True) -> None:
    """From whatever is there to Ready nodes with DNS and the third-party servers. Idempotent."""
    preflight.require(chosen.nodes)
    step("built", lambda: build.build(chosen.kubernetes, everything=False))
    RUN.mkdir(parents=True, exist_ok=True)
    kind.record(chosen)
    failed = ""
    try:
        step("images", lambda: build_images() if with_images else build_images(images.build_servers))
    except LabError as error:
        failed = str(error)  # a service that does not build must not keep the lab from booting
    pki.init()
    host.remember()
    network.up()
    step("control plane", control_plane.up)
    step("nodes Ready", _nodes)
    step("DNS and servers", infra)
    print(f"lab: up with {chosen}. export KUBECONFIG={KUBECONFIG}")
    if failed:
        raise LabError(failed)


def build_images(make: Callable[[], object] = images.build) -> None:
    """What changed, also into the stores of nodes that are on: one image that does not build keeps none of the others back."""
    try:
        make()
    finally:
        if kind.current().runtime is kind.Runtime.CONTAINERD:
            containerd.publish()
            with ThreadPoolExecutor(2) as pool:
                for done in [pool.submit(Node(name).take_images) for name in node.on()]:
                    done.result()


def step(name: str, act: Callable[[], object]) -> None:
    began = time.monotonic()
    act()
    print(f"lab: {name} ({time.monotonic() - began:.1f} s)", flush=True)


def _nodes() -> None:
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(Node(name).up) for name in NODES]:
            done.result()
    kubectl("label", "node", INFRA_NODE, "reprise.dev/lab-role=infra", "--overwrite")


def infra() -> None:
    """CoreDNS, NATS, MinIO, PostgreSQL, Jaeger; returns when all answer."""
    replicated = kind.current().replicated
    nats.provide(NAMESPACE)
    if replicated:
        volumes.provide()
    kubectl("apply", "-k", str(OVERLAYS / ("lab-three" if replicated else "lab") / "infra"))
    kubectl(
        "-n",
        "reprise-system",
        "wait",
        "deployment",
        "-l",
        "reprise.dev/infra",
        "--for=condition=Available",
        "--timeout=90s",
    )
    for server in ("nats", "minio") if replicated else ():
        kubectl("-n", "reprise-system", "rollout", "status", f"statefulset/{server}", "--timeout=120s")
    kubectl("-n", "kube-system", "wait", "deployment/coredns", "--for=condition=Available", "--timeout=60s")


def down() -> None:
    """Stop what up() started, by our pid files and cgroups, and forget the cluster. Works after any interruption."""
    for name in NODES:
        Node(name).off()
    control_plane.down()
    node.kill_stragglers()
    poll(10, lambda: all(gone(p) for p in _pids()), "processes of the lab to end")
    node.remove_cgroups()
    network.down()
    host.put_back()
    if str(RUN) in Path("/proc/self/mounts").read_text():
        raise LabError(f"something is still mounted below {RUN}: `grep {RUN} /proc/mounts`")
    subprocess.run(["rm", "-rf", "--one-file-system", str(RUN)], check=True)
    OWNER.unlink(missing_ok=True)
    left = leftovers()
    if left:
        raise LabError("left behind:\n" + "\n".join(left))


def purge() -> None:
    """Also what was built."""
    shutil.rmtree(HOME, ignore_errors=True)


def _pids() -> list[int]:
    found = []
    for folder in (CGROUP / "pids" / NETNS).rglob("cgroup.procs"):
        found += [int(line) for line in folder.read_text().split()]
    return found


def leftovers() -> list[str]:
    """Every process, mount, namespace, cgroup and link of the lab that exists."""
    found = [f"process {pid}" for pid in _pids() if not gone(pid)]
    for pid_file in RUN.rglob("*.pid"):
        pid = int((pid_file.read_text().split() or ["0"])[0])
        if pid and not gone(pid):
            found.append(f"process {pid} ({pid_file.stem})")
    found += [f"mount {line.split()[1]}" for line in Path("/proc/self/mounts").read_text().splitlines() if str(HOME) in line]
    if host.RECORD.exists():
        found.append("the host's sysctls are the kubelet's")
    found += [f"namespace {p}" for p in Path("/run/netns").glob(f"{NETNS}-*")]
    found += [f"cgroup {CGROUP / c / NETNS}" for c in CONTROLLERS if (CGROUP / c / NETNS).exists()]
    found += [f"link {p.name}" for p in Path("/sys/class/net").iterdir() if p.name == BRIDGE or p.name.startswith("rlv")]
    return found


def kill_component(name: str) -> None:
    """kill -9 of a control-plane component or of a node's (`n1/kubelet`)."""
    from reprise_lab.shell import stop

    stop(name, signal.SIGKILL)
