"""What the API server says of a pod that is not there yet, and what the pod takes along."""

import json
from typing import Any

import pytest
from kubernetes.aio import client
from reprise.contracts.errors import RecoveryError
from reprise.restorer.adapters.admission import objection
from reprise.restorer.adapters.cluster import carried, next_of, shadow_of

POD = client.V1Pod(metadata=client.V1ObjectMeta(name="counter-mv"))
QUOTA = 'pods "counter-mv" is forbidden: exceeded quota: small, requested: pods=1,{0}, used: pods=2,{1}, limited: pods=2,{2}'
FULL = QUOTA.format("requests.memory=64Mi", "requests.memory=128Mi", "requests.memory=128Mi")
SHRUNK = QUOTA.format("requests.memory=64Mi", "requests.memory=128Mi", "requests.memory=100Mi")


class Core:
    def __init__(self, status: int = 0, message: str = "") -> None:
        self.status, self.message, self.asked = status, message, {}  # type: ignore[var-annotated]

    async def create_namespaced_pod(self, _namespace: str, _pod: Any, **asked: Any) -> None:
        self.asked = asked
        if self.status:
            error = client.ApiException(status=self.status, reason="Forbidden")
            error.body = json.dumps({"message": self.message})
            raise error


async def test_it_is_asked_by_a_dry_run_and_nothing_is_made() -> None:
    core = Core()
    assert await objection(core, "default", POD, replaces=False) == ""
    assert core.asked["dry_run"] == "All"


@pytest.mark.parametrize(
    ("status", "message", "beside", "instead"),
    [
        (403, "violates PodSecurity restricted", True, True),
        (422, "spec.tolerations: Invalid value", True, True),
        (403, FULL, True, False),
        (403, SHRUNK, True, True),
        (409, "already exists", False, False),
        (400, "admission webhook w does not support dry run", False, False),
    ],
)
async def test_a_refusal_counts_but_for_what_the_replaced_pod_itself_takes_up(
    status: int, message: str, beside: bool, instead: bool
) -> None:
    """A quota that is used up refuses a second pod, and not one that comes in the place of the first."""
    for replaces, refused in ((False, beside), (True, instead)):
        said = await objection(Core(status, message), "default", POD, replaces=replaces)
        assert (message in said) == refused == bool(said)


async def test_a_webhook_that_is_down_is_waited_for() -> None:
    with pytest.raises(RecoveryError, match="failed calling webhook") as raised:
        await objection(Core(500, "failed calling webhook"), "default", POD, replaces=False)
    assert raised.value.retryable


def test_a_moved_pod_of_any_owner_has_the_labels_that_it_has_now() -> None:
    """Set since, changed since, or taken away since its template was applied."""
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels={"app": "counter", "role": "standby", "gone": "x", "pod-template-hash": "abc"}),
        spec=client.V1PodSpec(containers=[]),
    )
    now = {"app": "counter", "role": "leader", "set-at": "runtime", "pod-template-hash": "abc"}
    wanted = {"app": "counter", "role": "leader", "set-at": "runtime"}
    assert shadow_of(template, "s", "n2", {}, labels=now).metadata.labels == wanted
    assert shadow_of(template, "s", "n2", {}).metadata.labels == {"app": "counter", "role": "standby", "gone": "x"}
    pod = {"metadata": {"name": "counter-0", "labels": now, "annotations": {}}, "spec": {}}
    assert next_of(pod, {})["metadata"]["labels"] == now


def test_what_a_statefulset_made_meanwhile_is_given_what_was_set_at_run_time() -> None:
    """Set, changed or taken away. Annotations of the new pod's own stay: its node's network may have written them."""
    before = {
        "labels": {"app": "counter", "role": "leader"},
        "annotations": {"note": "mine", "reprise.dev/restore-from": "u1/ck2"},
    }
    made = {"labels": {"app": "counter", "role": "standby", "in-service": "yes"}, "annotations": {"network": "10.1.2.3"}}
    assert carried({"metadata": before}, {"metadata": made}) == {
        "labels": {"role": "leader", "in-service": None},
        "annotations": {"note": "mine"},
    }


def test_a_pod_that_was_made_as_the_one_before_is_left_alone() -> None:
    meta = {"labels": {"app": "counter"}, "annotations": {"note": "mine"}}
    assert carried({"metadata": meta}, {"metadata": meta}) == {}
