"""What may leave its node, and whereto: one rule for a lost node and for a planned move, for every kind of owner."""

from dataclasses import replace
from types import SimpleNamespace as Made
from typing import Any

import pytest
from reprise.contracts.events import Cause
from reprise.contracts.model import Target
from reprise.restorer.adapters.cluster import next_revision
from reprise.restorer.decide import plan
from reprise.restorer.model import Good, Need, NodeView, Plan, PodView, Snapshot, Stop
from reprise.restorer.placement import Neighbours, Placement, Requirement, Resident, Site, Taint, Volume

TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")
POD = PodView("u1", "counter-1", False, "counter:1", "c1", "ReplicaSet", "counter-abc")
SITE = Site(
    "n2", labels=(("zone", "b"),), taints=(Taint("gpu", "", "NoSchedule"),), free=(("cpu", 1.0), ("memory", 1e9), ("pods", 9.0)),
    residents=(Resident("u9", "default", (("app", "db"),), host_ports=(("TCP", 80),)),),
)  # fmt: skip
N2 = NodeView("n2", ready=True, schedulable=True, architecture="amd64", protected_pods=0)
N1 = replace(N2, name="n1")
NOW = Snapshot("move", TARGET, POD, (Good("ck1", Need(), pod_uid="u1"),), (N1, N2))
CAUSES = pytest.mark.parametrize("cause", ["move", "node-loss"])
OWNERS = pytest.mark.parametrize("owner", ["ReplicaSet", "StatefulSet", ""])
APP = (Requirement("app", "In", ("db",)),)
TIED: dict[str, Volume] = {
    "hostPath": Volume("data", tied="hostPath /srv"),
    "local": Volume("data", tied="claim data, a local volume"),
    "ReadWriteOnce": Volume("data", tied="claim data (ReadWriteOnce)", follows=True),
}
ASKS: dict[str, tuple[Placement, Site]] = {
    "nodeSelector": (Placement(selector=(("zone", "a"),)), SITE),
    "nodeAffinity": (Placement(affinity=((Requirement("zone", "In", ("a",)),),)), SITE),
    "a taint": (Placement(), SITE),
    "requests": (Placement(requests=(("cpu", 2.0),)), replace(SITE, taints=())),
    "hostPort": (Placement(host_ports=(("TCP", 80),)), replace(SITE, taints=())),
    "podAntiAffinity": (Placement(neighbours=(Neighbours("zone", APP, ("default",), apart=True),)), replace(SITE, taints=())),
    "a volume's nodes": (Placement(volumes=(Volume("v", terms=((Requirement("zone", "In", ("a",)),),)),)), SITE),
}


def refused(now: Snapshot) -> Stop:
    decision = plan(now)
    assert isinstance(decision, Stop), decision
    assert decision.remedy
    return decision


@CAUSES
@OWNERS
@pytest.mark.parametrize("kind", TIED)
def test_what_is_tied_to_its_node_is_not_moved_whoever_asks(cause: Cause, owner: str, kind: str) -> None:
    pod = replace(POD, owner_kind=owner, asks=Placement(volumes=(TIED[kind],)))
    decision = plan(replace(NOW, cause=cause, pod=pod))
    if kind == "ReadWriteOnce" and owner != "ReplicaSet":
        assert isinstance(decision, Plan), "it is detached once the old pod is deleted"
        return
    assert isinstance(decision, Stop)
    assert (decision.reason, decision.harmless) == ("NotMovable", cause == "move")
    assert TIED[kind].tied in decision.message


@OWNERS
@pytest.mark.parametrize("cause", ["move", "hang"])
def test_what_has_a_file_open_on_an_empty_dir_is_not_moved_while_it_runs(cause: Cause, owner: str) -> None:
    """On the other node the file is not there. hang: the step `move` of its on-failure."""
    good = (Good("ck1", Need(emptied=("/cache",)), pod_uid="u1"),)
    now = replace(NOW, cause=cause, elsewhere=cause == "hang", pod=replace(POD, owner_kind=owner), good=good)
    stop = refused(now)
    assert (stop.reason, "emptyDir at /cache" in stop.message) == ("NotMovable", True)
    assert isinstance(plan(replace(now, cause="node-loss", elsewhere=False)), Plan), "there is nothing to go on with where it was"


@CAUSES
@OWNERS
@pytest.mark.parametrize("asked", ASKS)
def test_what_the_scheduler_would_refuse_is_refused_before_anything_stands_still(cause: Cause, owner: str, asked: str) -> None:
    asks, site = ASKS[asked]
    pod = replace(POD, owner_kind=owner, asks=asks)
    stop = refused(replace(NOW, cause=cause, pod=pod, nodes=(N1, replace(N2, site=site))))
    assert (stop.reason, stop.harmless, stop.later) == ("NoStandby", cause == "move", cause == "node-loss")
    assert "n2 has" in stop.message


@OWNERS
def test_a_node_that_is_asked_for_by_name_is_checked_as_well(owner: str) -> None:
    pod = replace(POD, owner_kind=owner, asks=Placement(selector=(("zone", "a"),)))
    assert refused(replace(NOW, pod=pod, to="n2")).reason == "NoStandby"


@CAUSES
@OWNERS
def test_what_has_several_protected_containers_is_not_moved_for_one_of_them(cause: Cause, owner: str) -> None:
    stop = refused(replace(NOW, cause=cause, pod=replace(POD, owner_kind=owner, protected=2)))
    assert (stop.reason, stop.harmless) == ("SeveralContainers", cause == "move")


def test_a_move_whose_next_pod_would_be_of_another_template_is_refused() -> None:
    pod = replace(POD, owner_kind="StatefulSet", owner_name="counter", update_pending="counter-2")
    stop = refused(replace(NOW, pod=pod))
    assert (stop.reason, stop.outcome) == ("UpdatePending", "step-aside")
    assert isinstance(plan(replace(NOW, cause="node-loss", pod=pod)), Plan), "what is lost has nothing to wait for"


@pytest.mark.parametrize(
    ("strategy", "own", "pending"),
    [
        (Made(type="OnDelete", rolling_update=None), "counter-1", "counter-2"),
        (Made(type="OnDelete", rolling_update=None), "counter-2", ""),
        (Made(type="RollingUpdate", rolling_update=None), "counter-1", "counter-2"),
        (Made(type="RollingUpdate", rolling_update=Made(partition=1)), "counter-1", ""),
        (Made(type="RollingUpdate", rolling_update=Made(partition=0)), "counter-1", "counter-2"),
    ],
)
def test_a_statefulsets_next_pod_is_of_its_newest_revision_but_for_a_partition(strategy: Any, own: str, pending: str) -> None:
    status = Made(current_revision="counter-1", update_revision="counter-2")
    owner = Made(metadata=Made(name="counter"), spec=Made(update_strategy=strategy), status=status)
    pod = Made(metadata=Made(name="counter-0", labels={"controller-revision-hash": own}))
    assert next_revision(owner, pod) == pending
