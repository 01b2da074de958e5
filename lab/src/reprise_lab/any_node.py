"""Any node of three may die: counters on each of them, and what is known when one is powered off.

Used by tests/chaos/test_any_node.py, which judges what was seen, and by the bench, which measures it.
"""

import asyncio
import json
import time
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from reprise.contracts import subjects

from reprise_lab import counter, faults, kind, listing, nats
from reprise_lab.paths import NODES
from reprise_lab.shell import LabError, poll
from reprise_lab.witness import Witness

EACH = 2
READY_S, BACK_S, ENDED_S = 120, 60, 180
BRAKE_S = 60.0
"""health-watcher's brake_window_s: a second node of three that is lost sooner is not given up."""
REMOVED_S = 15.0
ROLES = ("NATS' meta leader", "the events' leader", "the leases' leader", "the arbiter", "the restorers' leader")
"""What a node is tried with: at least once each."""


@dataclass(frozen=True)
class Strike:
    """One node, powered off and on again: what it held, and how long each of its counters took to serve again."""

    node: str
    held: tuple[str, ...]
    at: float
    """By the witness's clock."""
    wall: datetime
    took_s: Mapping[str, float]


class Herd:
    """EACH counters on each node, one to a namespace."""

    def __init__(self, prefix: str) -> None:
        if not kind.current().replicated:
            raise LabError("this needs a lab of three nodes: `reprise-lab down`, then `reprise-lab up --nodes 3`")
        self.homes = {f"{prefix}-{node}-{number}": node for node in NODES for number in range(EACH)}

    def settle(self) -> None:
        """Returns once each is at home and protected, with a checkpoint in the store and on a standby. Raises LabError."""
        with ThreadPoolExecutor(EACH) as pool:
            list(pool.map(self._bring_home, self.homes))
        for namespace in self.homes:
            counter.wait_protected(namespace, READY_S)
            counter.wait_checkpoint(namespace, seconds=READY_S)
            poll(READY_S, lambda namespace=namespace: _staged(namespace), f"a standby of {namespace}", counter.ASK_S)  # type: ignore[misc]

    def _bring_home(self, namespace: str) -> None:
        home, found = self.homes[namespace], counter.pods(namespace)
        if [pod["spec"].get("nodeName") for pod in found] != [home]:
            counter.deploy(namespace, env=counter.LINGERS, pod={"affinity": preferred(home)})
            node = counter.pod(namespace)["spec"]["nodeName"]
            if node != home:
                raise LabError(f"the counter in {namespace} is on {node}, not on {home}")

    def remove(self) -> None:
        for namespace in self.homes:
            counter.remove(namespace, wait=False)

    @contextmanager
    def watched(self) -> Iterator[dict[str, Witness]]:
        with ExitStack() as stack:
            yield {namespace: stack.enter_context(Witness(namespace)) for namespace in self.homes}


def preferred(node: str) -> dict[str, Any]:
    """Not required: where the state comes back is Reprise's choice."""
    here = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
    return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": here}]}}


def strike(herd: Herd, node: str, witnesses: Mapping[str, Witness], held: tuple[str, ...]) -> Strike:
    """Power it off, wait until all that ran there serves elsewhere, and boot it again. Raises LabError."""
    struck = [namespace for namespace, home in herd.homes.items() if home == node]
    runs = {namespace: witnesses[namespace].last().run for namespace in struck}
    at, wall = time.monotonic(), datetime.now(UTC)
    try:
        faults.power_off(node)
        took_s = {namespace: witnesses[namespace].after_gap(runs[namespace], at, BACK_S).at - at for namespace in struck}
    finally:
        faults.power_on(node)
    counter.wait_reprise()
    for namespace in struck:
        counter.wait_failover(namespace, "node-loss", ENDED_S)
    return Strike(node, held, at, wall, took_s)


def rest(after: Strike) -> None:
    """Until the brake has forgotten it, and what came back would have answered."""
    time.sleep(max(0.0, after.at + BRAKE_S + REMOVED_S - time.monotonic()))


def next_node(untried: set[str], missing: set[str], held: Mapping[str, tuple[str, ...]]) -> str | None:
    """The one to strike now: of those that were not, else of all, the one that holds most of the roles that no struck one held.

    None: each was struck, and each role was.
    """
    if not untried and not missing:
        return None
    return max(sorted(untried or held), key=lambda node: len(missing & set(held.get(node, ()))))


def held() -> dict[str, tuple[str, ...]]:
    """What each node holds of ROLES now. Raises LabError."""
    at = {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in listing.pods("reprise-system") if "nodeName" in pod["spec"]}
    try:
        leaders = asyncio.run(_leaders(_meta_leader()))
    except (OSError, TimeoutError, KeyError) as error:
        raise LabError(f"NATS does not say who leads: {error!r}") from error
    return {node: tuple(role for role, leader in leaders.items() if at.get(leader) == node) for node in NODES}


def _meta_leader() -> str:
    [server, *_] = listing.pods("reprise-system", "app=nats")
    with urllib.request.urlopen(f"http://{server['status']['podIP']}:8222/jsz", timeout=5) as answer:
        return str(json.loads(answer.read())["meta_cluster"]["leader"])


async def _leaders(meta: str) -> dict[str, str]:
    """By role, the pod."""
    client = await nats.connect()
    try:
        streams = client.jetstream()
        told = [(await streams.stream_info(name)).cluster for name in (subjects.STREAM, "KV_leases")]
        elections = await streams.key_value("elections")
        won = [json.loads((await elections.get(name)).value or b"{}")["holder"] for name in ("arbiter", "leftovers")]
    finally:
        await client.close()
    return dict(zip(ROLES, (meta, *(each.leader if each and each.leader else "" for each in told), *won), strict=True))


def _staged(namespace: str) -> bool:
    """Its newest checkpoint lies on another node as well."""
    [newest, *_] = counter.console(f"checkpoints?namespace={namespace}&state=stored&limit=1") or [{}]
    return bool(newest.get("staged_on"))
