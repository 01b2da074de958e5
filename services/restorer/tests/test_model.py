"""The record of a failover."""

from reprise.contracts.model import Target, Workload, now
from reprise.restorer.model import Attempt, Saga

TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")


def test_another_step_changes_nothing_else() -> None:
    saga = Saga(
        failover_id="fo-1", workload=Workload(namespace="default", name="counter"), target=TARGET, cause="crash",
        declared_at=now(), step="plan", attempt=Attempt(2), why="it was asked for", delays=3, judged_at=now(), fence_revision=7,
        rejected=("ck0",), to="n2", wanted="ck1", elsewhere=True, restored_from="ck2", keep=4,
    )  # fmt: skip
    assert saga.model_fields_set == Saga.model_fields.keys(), "a field is missing above"
    same = {name for name in Saga.model_fields if getattr(saga.at("fence"), name) == getattr(saga, name)}
    assert Saga.model_fields.keys() - same == {"step"}


def test_what_is_given_is_changed_though_it_is_empty() -> None:
    saga = Saga(
        failover_id="fo-1", workload=Workload(namespace="default", name="counter"), target=TARGET, cause="crash",
        declared_at=now(), why="it was asked for", delays=3, fence_revision=7, elsewhere=True,
    )  # fmt: skip
    after = saga.at("plan", why="", delays=0, fence_revision=0, elsewhere=False)
    assert (after.why, after.delays, after.fence_revision, after.elsewhere) == ("", 0, 0, False)
