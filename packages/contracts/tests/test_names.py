"""A name leads nowhere: names become parts of paths, URLs and keys, and an event may come from anybody."""

import json
from typing import Any

import pytest
from reprise.contracts import envelope
from reprise.contracts.errors import MalformedEvent
from reprise.contracts.events import CheckpointDue
from reprise.contracts.examples import example

WRONG = ["../kube-system/etcd?x=", "a/b", "..", ".", "", "a b", "Pod", "a_b", "a..b", "-a", "a%2fb", "a\n", "\u0661"]


def received(change: dict[str, Any], target: dict[str, Any], workload: dict[str, Any]) -> CheckpointDue:
    sent = example(CheckpointDue)
    _, payload = envelope.encode(sent, source="test")
    whole = json.loads(payload)
    data = whole["data"]
    data |= change
    data["target"] |= target
    data["workload"] |= workload
    _, event = envelope.decode(json.dumps(whole).encode())
    assert isinstance(event, CheckpointDue)
    return event


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("where", ["node", "pod", "container", "namespace", "name"])
def test_what_is_no_dns_1123_name_is_malformed(where: str, name: str) -> None:
    of_target = where in ("node", "pod", "container")
    with pytest.raises(MalformedEvent, match=where):
        received({}, {where: name} if of_target else {}, {} if of_target else {where: name})


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "a b", "a?b", "a%2f"])
@pytest.mark.parametrize("where", ["pod_uid", "container_id"])
def test_an_id_is_one_plain_token(where: str, name: str) -> None:
    with pytest.raises(MalformedEvent, match=where):
        received({}, {where: name}, {})


def test_the_node_that_an_event_is_about_is_one_too_or_none() -> None:
    with pytest.raises(MalformedEvent, match="node"):
        received({"node": "n1/../n2"}, {}, {})
    assert received({"node": ""}, {}, {}).node == ""


def test_what_older_versions_told_of_a_container_that_did_not_run_is_still_read() -> None:
    assert received({}, {"container_id": "", "pod_uid": "1c8b7a3f5e0d4f6fa1c2"}, {"namespace": "-"}).target.container_id == ""
