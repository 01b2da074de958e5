"""A pod starts from the checkpoint that it names only if that is its workload's own (I8)."""

import pytest
from reprise.contracts.annotations import RESTORE_FROM
from reprise.contracts.model import Workload
from reprise.health_watcher.rules.origin import FAILOVER, distrust, wanted

COUNTER = Workload(namespace="shop", name="counter")
SHADOW = Workload(namespace="shop", kind="Pod", name="counter-mv-1-1")


def test_a_checkpoint_is_looked_for_in_the_pods_own_namespace() -> None:
    found = wanted("shop", {RESTORE_FROM: "u0/ck7"})
    assert found is not None
    assert (found.slots, found.checkpoint_id, found.broken) == ("shop/u0", "ck7", "")
    assert wanted("shop", {}) is None


@pytest.mark.parametrize("text", ["", "u0", "u0/", "/ck7", "../other/u0/ck7", "u0/../ck7", "..//ck7", "u0/ck 7"])
def test_a_name_that_leads_elsewhere_is_refused(text: str) -> None:
    found = wanted("shop", {RESTORE_FROM: text})
    assert found is not None
    assert found.broken
    assert not found.slots


@pytest.mark.parametrize(
    ("workload", "pod", "annotations", "slot_pod"),
    [
        (COUNTER, "counter-mv-1-1", {}, "counter-5d9f-x2x"),
        (SHADOW, "counter-mv-1-1", {FAILOVER: "mv-1-1"}, "counter-5d9f-x2x"),
        (Workload(namespace="shop", kind="StatefulSet", name="db"), "db-0", {}, "db-0"),
        (Workload(namespace="shop", kind="Pod", name="lone"), "lone", {}, "lone"),
    ],
)
def test_a_workloads_own_checkpoint_is_believed(workload: Workload, pod: str, annotations: dict[str, str], slot_pod: str) -> None:
    assert distrust(workload, pod, annotations, "shop", slot_pod) == ""


@pytest.mark.parametrize(
    ("namespace", "slot_pod"), [("other", "counter-5d9f-x2x"), ("shop", "redis-5d9f-x2x"), ("shop", "count")]
)
def test_another_workloads_checkpoint_is_not(namespace: str, slot_pod: str) -> None:
    for workload, pod, annotations in ((COUNTER, "counter-mv-1-1", {}), (SHADOW, "counter-mv-1-1", {FAILOVER: "mv-1-1"})):
        assert "not of counter" in distrust(workload, pod, annotations, namespace, slot_pod)
