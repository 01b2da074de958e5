"""`reprise plan NODE`, `console`, `uncordon` and `preflight`."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from reprise.cli.ports import ClusterError, NodeFacts
from typer.testing import Result

Run = Callable[..., Result]
WARM: dict[str, Any] = {
    "namespace": "shop", "kind": "Deployment", "workload": "cart", "container": "app", "outcome": "continues", "to": "n2",
    "because": "n2 holds it ready", "checkpoint_id": "ck1", "back_s": 6.7, "lost_s": 4.0,
}  # fmt: skip
STAYS = WARM | {
    "workload": "db", "kind": "StatefulSet", "outcome": "stays", "to": "", "because": "NoStandby: no node can take it",
    "back_s": None,
}  # fmt: skip
NODE = NodeFacts("n1", True, "v1.34.1", "containerd://2.1.4", "6.18.0", "amd64", "linux")


def test_a_plan_says_what_a_loss_and_a_drain_would_mean(reprise: Run, session: Any) -> None:
    session.forecasts = {"n1": {"node": "n1", "decided": True, "workloads": [STAYS, WARM]}}
    told = reprise("plan", "n1")
    assert told.exit_code == 0, told.output
    _, db, cart, *_ = told.stdout.splitlines()
    assert "would not come back" in db
    assert "stays and runs on" in db
    assert all(each in cart for each in ("would continue", "6.7 s", "4.0 s", "moves to n2, loses nothing"))
    assert "The restorer's own decision" in told.stderr
    assert "1 container would not come back" in told.stderr


def test_a_plan_is_of_the_namespace_that_is_named_and_as_data(reprise: Run, session: Any) -> None:
    session.forecasts = {"n1": {"node": "n1", "decided": False, "workloads": [WARM, WARM | {"namespace": "other"}]}}
    told = json.loads(reprise("plan", "n1", "-n", "shop", "-o", "json").stdout)
    assert [row["namespace"] for row in told["workloads"]] == ["shop"]
    assert reprise("plan", "n1", "-o", "name").stdout.splitlines() == ["shop/deployment/cart", "other/deployment/cart"]
    assert "Estimated" in reprise("plan", "n1").stderr


def test_a_node_that_nobody_knows_is_said(reprise: Run) -> None:
    told = reprise("plan", "n9")
    assert (told.exit_code, "no event has told of a node n9" in told.stderr) == (1, True)


def test_the_console_is_opened_and_its_address_printed(reprise: Run, session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = list[str]()
    monkeypatch.setattr("reprise.cli.commands.console.webbrowser.open", lambda url: opened.append(url) or True)

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("reprise.cli.commands.console.time.sleep", interrupted)
    for words, expected in (((), [session.address]), (("--no-browser",), [])):
        opened.clear()
        told = reprise("console", *words)
        assert (told.exit_code, told.stdout, opened) == (0, f"{session.address}\n", expected)


def test_uncordon_lets_a_node_take_pods_again(reprise: Run, session: Any) -> None:
    session.moving.cordoned["n1"] = True
    assert reprise("uncordon", "n1").exit_code == 0
    assert not session.moving.cordoned["n1"]
    assert "was not cordoned" in reprise("uncordon", "n1").stderr
    assert reprise("uncordon", "n9").exit_code == 1


def test_preflight_needs_nothing_of_reprise(reprise: Run, session: Any) -> None:
    session.failures = [AssertionError("nobody asks the console")] * 9
    session.cluster.told |= {"nodes": [NODE], "configz": {"serverTLSBootstrap": True}}
    told = reprise("preflight")
    assert told.exit_code == 0, told.output
    assert "cgroup v2" in told.stdout
    assert "the cluster signs its serving certificate" in told.stdout


def test_preflight_names_what_a_node_lacks_with_the_remedy(reprise: Run, session: Any) -> None:
    old = replace(NODE, name="n2", runtime="docker://27", pressure=("DiskPressure",))
    session.cluster.told |= {"nodes": [NODE, old], "cgroup": 1}
    told = reprise("preflight", "-o", "json")
    assert told.exit_code == 3
    found = {(row["subject"], row["check"]): row for row in json.loads(told.stdout)}
    assert found["node n2", "runtime"]["state"] == "problem"
    assert found["node n2", "disk"]["state"] == "problem"
    assert "components/cgroup-v1" in found["node n1", "cgroup"]["remedy"]
    assert reprise("preflight", "n1").exit_code == 0


def test_preflight_says_what_may_not_be_seen(reprise: Run, session: Any) -> None:
    session.cluster.told |= {"nodes": [NODE], "configz": ClusterError("you may not"), "cgroup": ClusterError("you may not")}
    told = reprise("preflight")
    assert told.exit_code == 0
    assert "not seen: kubelet: you may not" in told.stderr
    assert reprise("preflight", "n9").exit_code == 1
