"""The bridge, and a network namespace per node and for the control plane."""

from collections.abc import Iterable
from pathlib import Path

from reprise_lab.paths import API_IP, BRIDGE, INFRA_NODE, NET, NETNS, NODES, SERVICE_CIDR, pod_cidr
from reprise_lab.shell import run

# A node that boots has its eth0 before its pod bridge: it would answer a packet to one of its pods by a redirect to the
# gateway, and who takes that loses the way to the pod's address for five minutes.
NO_REDIRECTS = [
    f"net.ipv4.conf.{device}.{knob}=0" for device in ("all", "eth0") for knob in ("send_redirects", "accept_redirects")
]


def up() -> None:
    """Idempotent. The host reaches pods directly, and services through a node that is on (route_services())."""
    if not Path(f"/sys/class/net/{BRIDGE}").exists():
        run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "addr", "replace", f"{NET}.1/24", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    for ip in NODES.values():
        run("ip", "route", "replace", pod_cidr(ip), "via", ip)
    run("ip", "route", "add", SERVICE_CIDR, "via", NODES[INFRA_NODE], check=False)  # one that is there is route_services()'s
    attach(f"{NETNS}-cp", API_IP)
    for name, ip in NODES.items():
        attach(f"{NETNS}-{name}", ip)


def route_services(on: Iterable[str]) -> None:
    """The host's way to services: by the node that tests leave on, or by another, of those that are on."""
    through = min(on, key=lambda node: node != INFRA_NODE, default=INFRA_NODE)
    run("ip", "route", "replace", SERVICE_CIDR, "via", NODES[through], check=False)


def attach(namespace: str, ip: str) -> None:
    """A veth from the bridge into the namespace, as eth0."""
    number = ip.rpartition(".")[2]
    if not Path(f"/run/netns/{namespace}").exists():
        run("ip", "netns", "add", namespace)
    if not Path(f"/sys/class/net/rlv{number}").exists():
        run("ip", "link", "add", f"rlv{number}", "type", "veth", "peer", "name", "eth0", "netns", namespace)
    run("ip", "link", "set", f"rlv{number}", "master", BRIDGE, "up")
    run("nsenter", f"--net=/run/netns/{namespace}", "sysctl", "-qw", *NO_REDIRECTS)
    inside = ("ip", "-n", namespace)
    run(*inside, "addr", "replace", f"{ip}/24", "dev", "eth0")
    run(*inside, "link", "set", "lo", "up")
    run(*inside, "link", "set", "eth0", "up")
    run(*inside, "route", "replace", "default", "via", f"{NET}.1")
    for other in NODES.values():
        if other != ip:
            run(*inside, "route", "replace", pod_cidr(other), "via", other)


def detach(namespace: str, ip: str) -> None:
    """The cable pulled: link and namespace gone."""
    run("ip", "link", "del", f"rlv{ip.rpartition('.')[2]}", check=False)
    run("ip", "netns", "del", namespace, check=False)


def down() -> None:
    detach(f"{NETNS}-cp", API_IP)
    for name, ip in NODES.items():
        detach(f"{NETNS}-{name}", ip)
    run("ip", "link", "del", BRIDGE, check=False)
