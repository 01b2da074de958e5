"""Mode http: where a program hands out its state, in our words and in the prototype's, and what is said about a bad one."""

import pytest
from reprise.contracts.annotations import Parsed, Policy, parse
from reprise.contracts.state import StateApi

OURS = {"reprise.dev/mode": "http", "reprise.dev/state-path": "/state", "reprise.dev/state-port": "8080"}
SEEDS = {"hitachienergy.com/ps_mode": "http", "hitachienergy.com/ps_interval": "10", "hitachienergy.com/ps_path": "state",
         "hitachienergy.com/ps_port": "8080"}  # fmt: skip


def said(parsed: Parsed) -> list[str]:
    return [str(problem) for problem in parsed.problems]


def test_path_and_port_are_enough() -> None:
    found = parse(OURS)
    assert found.problems == ()
    assert found.policy.state == StateApi(path="/state", port=8080, max_bytes=64 << 20)
    assert (found.policy.mode, found.policy.protects) == ("http", True)


def test_everything_can_be_said() -> None:
    more = {"scheme": "https", "ca": "trust", "headers": "token", "max-bytes": "2Mi"}
    found = parse(OURS | {f"reprise.dev/state-{name}": value for name, value in more.items()})
    assert said(found) == []
    assert found.policy.state == StateApi(
        path="/state", port=8080, scheme="https", headers="token", ca="trust", max_bytes=2 << 20
    )


def test_the_prototypes_annotations_mean_the_same() -> None:
    found = parse(SEEDS)
    assert said(found) == []
    assert found.policy == Policy(mode="http", interval_s=10, state=StateApi(path="/state", port=8080))


def test_http_sf_asks_for_a_probe_of_ours_where_the_pod_has_none() -> None:
    found = parse(SEEDS | {"hitachienergy.com/ps_mode": "http-sf"}).policy
    assert found.state
    assert (found.mode, found.state.probe) == ("http", True)


@pytest.mark.parametrize("missing", ["ps_port", "ps_path"])
def test_what_the_prototypes_mode_lacks_is_named(missing: str) -> None:
    name = f"hitachienergy.com/{missing}"
    found = parse({key: value for key, value in SEEDS.items() if key != name})
    (problem,) = found.problems
    assert (problem.annotation, found.policy.mode) == (name, "off")
    assert "missing: mode http needs it" in problem.message


@pytest.mark.parametrize("missing", ["state-port", "state-path"])
def test_what_our_mode_lacks_is_named(missing: str) -> None:
    found = parse({key: value for key, value in OURS.items() if not key.endswith(missing)})
    assert [problem.annotation for problem in found.problems] == [f"reprise.dev/{missing}"]
    assert found.policy.mode == "off"


@pytest.mark.parametrize(
    ("name", "value"),
    [("state-port", "70000"), ("state-port", "http"), ("state-path", "//elsewhere/x"), ("state-path", "a b"),
     ("state-headers", "A/B"), ("state-scheme", "ftp")],
)  # fmt: skip
def test_a_bad_value_is_said_once_and_what_was_so_before_stays(name: str, value: str) -> None:
    before = parse(OURS).policy
    found = parse(OURS | {f"reprise.dev/{name}": value}, before)
    assert [(problem.annotation, problem.value) for problem in found.problems] == [(f"reprise.dev/{name}", value)]
    assert (found.policy.mode, found.policy.state) == ("http", before.state)


def test_a_size_that_is_none_leaves_the_default() -> None:
    found = parse(OURS | {"reprise.dev/state-max-bytes": "much"})
    assert len(found.problems) == 1
    assert found.policy.state == StateApi(path="/state", port=8080)


def test_https_without_whom_to_trust_is_refused() -> None:
    """The state, and the Secret that is sent along, would go to anybody."""
    found = parse(OURS | {"reprise.dev/state-scheme": "https"})
    assert [problem.annotation for problem in found.problems] == ["reprise.dev/state-ca"]
    assert found.policy.mode == "off"


def test_of_both_of_the_prototypes_modes_memory_wins_and_the_other_is_reported() -> None:
    found = parse(SEEDS | {"hitachienergy.com/cr_mode": "cr"})
    assert (found.policy.mode, [problem.annotation for problem in found.problems]) == ("criu", ["hitachienergy.com/ps_mode"])


def test_only_one_container_hands_out_the_state() -> None:
    found = parse(OURS | {"reprise.dev/containers": "app,sidecar"})
    assert (found.policy.containers, [problem.annotation for problem in found.problems]) == (("app",), ["reprise.dev/containers"])


def test_a_prototypes_mode_that_is_none_is_reported() -> None:
    found = parse(SEEDS | {"hitachienergy.com/ps_mode": "push"})
    assert (found.policy.mode, [problem.annotation for problem in found.problems]) == ("off", ["hitachienergy.com/ps_mode"])
