"""The contract: what goes out comes back, and what is not ours is refused with its reason."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reprise.contracts import envelope, subjects
from reprise.contracts.annotations import Policy, duration_s, parse
from reprise.contracts.errors import ContractError, MalformedEvent, UnknownEventType, UnknownEventVersion
from reprise.contracts.events import ALL, CheckpointDue, Event, NodeLost, node_subject
from reprise.contracts.model import Target, Workload, after, checkpoint_id, failover_id

labels = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,9}[a-z0-9])?", fullmatch=True)
names = st.lists(labels, min_size=1, max_size=3).map(".".join)
targets = st.builds(Target, node=names, pod=names, pod_uid=names, container=labels, container_id=names)
workloads = st.builds(Workload, namespace=labels, kind=st.sampled_from(["Deployment", "StatefulSet", "Pod"]), name=names)
times = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


@given(targets, workloads, times, st.floats(1, 1e6))
def test_an_event_survives_the_wire(target: Target, workload: Workload, at: datetime, interval_s: float) -> None:
    sent = CheckpointDue(
        at=at, node=target.node, workload=workload, checkpoint_id="c", target=target, trigger="interval", due_at=at,
        interval_s=interval_s, keep=3,
    )  # fmt: skip
    event_id, payload = envelope.encode(sent, source="test", traceparent="00-1-2-01")
    attributes, received = envelope.decode(payload)
    assert received == sent
    assert (attributes.id, attributes.traceparent, attributes.specversion) == (event_id, "00-1-2-01", "1.0")


@given(st.binary(max_size=300))
def test_garbage_is_never_anything_but_a_contract_error(payload: bytes) -> None:
    with pytest.raises(ContractError):
        envelope.decode(payload)


@pytest.mark.parametrize(
    ("kind", "error"),
    [("dev.reprise.v2.node.lost", UnknownEventVersion), ("dev.reprise.v1.node.eaten", UnknownEventType),
     ("com.example.thing", UnknownEventVersion), ("dev.reprise.v1.node.lost", MalformedEvent)],
)  # fmt: skip
def test_an_event_that_is_not_ours_says_why(kind: str, error: type[ContractError]) -> None:
    payload = f'{{"specversion":"1.0","id":"7","source":"s","type":"{kind}","time":"2026-01-01T00:00:00Z","data":{{}}}}'
    with pytest.raises(error, match="event 7"):
        envelope.decode(payload.encode())


def test_a_newer_minor_version_with_more_fields_is_read() -> None:
    _, payload = envelope.encode(NodeLost(node="n1", workload=node_subject("n1"), detail="d"), source="s")
    _, event = envelope.decode(payload.replace(b'"detail"', b'"later":1,"detail"'))
    assert isinstance(event, NodeLost)


@given(names, labels, names)
def test_a_subject_has_seven_tokens_whatever_the_names(node: str, namespace: str, name: str) -> None:
    event = NodeLost(node=node, workload=Workload(namespace=namespace, name=name), detail="")
    assert len(subjects.of(event).split(".")) == 7


@given(st.text(max_size=30))
def test_a_token_holds_no_separator_or_wildcard(name: str) -> None:
    assert not set(subjects.token(name)) & set(".*> \t")


def test_every_event_type_is_noun_and_verb_and_unique() -> None:
    assert len({event.TYPE for event in ALL}) == len(ALL)
    assert all(len(event.TYPE.split(".")) == 2 and issubclass(event, Event) for event in ALL)


class TestAnnotations:
    def test_ours(self) -> None:
        parsed = parse({"reprise.dev/mode": "criu", "reprise.dev/interval": "1m30s", "reprise.dev/keep": "5"})
        assert parsed.problems == ()
        assert (parsed.policy.mode, parsed.policy.interval_s, parsed.policy.keep) == ("criu", 90.0, 5)

    def test_the_prototypes_work_unchanged(self) -> None:
        policy = parse({"hitachienergy.com/cr_mode": "cr", "hitachienergy.com/cr_interval": "10"}).policy
        assert (policy.mode, policy.interval_s) == ("criu", 10.0)

    def test_ours_win(self) -> None:
        assert not parse({"hitachienergy.com/cr_mode": "cr", "reprise.dev/mode": "off"}).policy.protects

    @pytest.mark.parametrize("value", ["soon", "", "-1s", "0s", "10", "1e9h", "10 s ago", "٣s", "NaNs"])
    def test_a_bad_interval_is_named_and_the_last_valid_one_stays(self, value: str) -> None:
        last = Policy(mode="criu", interval_s=7)
        parsed = parse({"reprise.dev/mode": "criu", "reprise.dev/interval": value}, last)
        assert parsed.policy.interval_s == 7
        assert parsed.problems[0].annotation == "reprise.dev/interval"

    def test_a_mode_that_is_nonsense_protects_nothing_new_and_stops_nothing_old(self) -> None:
        bad = {"reprise.dev/mode": "magic"}
        assert not parse(bad).policy.protects
        assert parse(bad, Policy(mode="criu")).policy.protects

    @pytest.mark.parametrize("value", ["never", "first-checkpoint", "nonsense"])
    def test_the_arm_annotation_changes_no_policy_and_its_owner_is_told(self, value: str) -> None:
        asked = {"reprise.dev/mode": "criu", "reprise.dev/interval": "7s"}
        parsed = parse(asked | {"reprise.dev/arm": value})
        assert parsed.policy == parse(asked).policy
        (problem,) = parsed.problems
        assert problem.annotation == "reprise.dev/arm"
        assert "no longer needed" in problem.message

    @given(
        st.dictionaries(
            st.sampled_from([f"reprise.dev/{k}" for k in ("mode", "interval", "arm", "containers", "keep")]), st.text()
        )
    )
    def test_no_text_breaks_it(self, annotations: dict[str, str]) -> None:
        parsed = parse(annotations)
        assert parsed.policy.interval_s >= 1
        assert parsed.policy.keep >= 1

    @given(st.integers(1, 86400))
    def test_a_duration_is_read_back(self, seconds: int) -> None:
        assert duration_s(f"{seconds}s") == seconds
        assert duration_s(f"{seconds // 60}m{seconds % 60}s") == seconds


class TestNames:
    @given(times, st.timedeltas(timedelta(milliseconds=1), timedelta(days=300)))
    def test_checkpoints_sort_by_when_they_were_due(self, at: datetime, later: timedelta) -> None:
        assert checkpoint_id("u", "c", at.replace(microsecond=0)) < checkpoint_id("u", "c", at + later + timedelta(seconds=1))

    @given(times, st.timedeltas(timedelta(days=-300), timedelta(days=300)))
    def test_checkpoint_ids_only_grow_whatever_the_clock_does(self, at: datetime, jump: timedelta) -> None:
        before = checkpoint_id("u", "c", at)
        assert checkpoint_id("u", "c", max(at + jump, after(before))) > before
        assert after(before) - at.replace(microsecond=at.microsecond // 1000 * 1000) == timedelta(milliseconds=1)

    @given(targets)
    def test_a_failover_is_named_by_the_dead_instance(self, target: Target) -> None:
        successor = target.model_copy(update={"container_id": target.container_id + "x"})
        assert failover_id(target) == failover_id(target.model_copy())
        assert len({failover_id(target), failover_id(successor), failover_id(target, node_lost=True)}) == 3


def test_an_owner_asks_for_a_checkpoint_by_its_moment() -> None:
    asked = parse({"reprise.dev/mode": "criu", "reprise.dev/checkpoint-now": "2026-11-24T21:14:33.250+01:00"})
    assert asked.policy.checkpoint_at == datetime(2026, 11, 24, 20, 14, 33, 250_000, tzinfo=UTC)
    wrong = parse({"reprise.dev/checkpoint-now": "now"}, asked.policy)
    assert wrong.policy.checkpoint_at == asked.policy.checkpoint_at
    assert "RFC 3339" in wrong.problems[0].message
