"""`reprise checkpoint list` and `delete`: what is stored, and that the last good one stays."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from reprise.archive.manifest import Manifest
from reprise.archive.repository import Repository
from typer.testing import Result

Run = Callable[..., Result]
Write = Callable[..., Manifest]
ROW: dict[str, Any] = {
    "namespace": "shop", "kind": "Deployment", "workload": "cart", "container": "app", "checkpoint_id": "ck2", "state": "stored",
    "at": "2026-11-24T10:00:00+00:00", "node": "n1", "pod": "cart-1", "checkpoint_kind": "criu", "size_bytes": 3_150_000,
    "new_bytes": 1000, "pause_s": 0.052, "staged_on": "n2", "trigger": "interval",
}  # fmt: skip


def test_the_checkpoints_of_a_workload_are_those_that_are_good(reprise: Run, session: Any) -> None:
    session.tables = {"checkpoints": [ROW]}
    told = reprise("checkpoint", "list", "shop/cart")
    assert told.exit_code == 0, told.output
    assert session.filters == {"state": "stored", "namespace": "shop", "workload": "cart", "kind": ""}
    assert "3.15 MB" in told.stdout
    assert "WORKLOAD" not in told.stdout


def test_without_a_workload_they_are_those_of_the_namespace_and_the_labels(reprise: Run, session: Any) -> None:
    other = ROW | {"workload": "db", "kind": "StatefulSet"}
    session.tables = {"checkpoints": [ROW, other]}
    session.cluster.labels = {"app=cart": [("shop", "Deployment", "cart")]}
    told = reprise("checkpoint", "list", "-n", "shop", "-l", "app=cart", "-o", "name")
    assert (told.exit_code, told.stdout) == (0, "shop/deployment/cart@ck2\n")
    assert len(reprise("checkpoint", "list", "-A", "-o", "name").stdout.splitlines()) == 2


def test_a_name_of_the_list_is_what_other_commands_take(reprise: Run, session: Any, write: Write) -> None:
    write("20261124t101112123-aa")
    write("20261125t101112123-bb")
    session.tables = {
        "checkpoints": [ROW | {"namespace": "default", "workload": "counter", "checkpoint_id": "20261124t101112123-aa"}]
    }
    (name,) = reprise("checkpoint", "list", "-A", "-o", "name").stdout.split()
    assert reprise("checkpoint", "delete", name, "--yes").exit_code == 0


def test_a_deleted_one_is_gone_and_the_next_retention_tells_of_it(reprise: Run, session: Any, write: Write) -> None:
    old, new = write("20261124t101112123-aa"), write("20261125t101112123-bb")
    told = reprise("checkpoint", "delete", "default/counter@20261124")
    assert told.exit_code == 0, told.output
    assert "deleted default/deployment/counter@20261124t101112123-aa" in told.stderr
    repository = Repository(session.store)
    left = repository.list_manifests(old.workload, "counter")
    assert [manifest.checkpoint_id for manifest in left] == [new.checkpoint_id]
    assert repository.prune(old.workload, "counter", 3) == [old.checkpoint_id]
    assert repository.prune(old.workload, "counter", 3) == [], "it is told once"


def test_the_last_good_one_is_refused(reprise: Run, session: Any, write: Write) -> None:
    write("20261124t101112123-aa")
    before = dict(session.store.objects)
    told = reprise("checkpoint", "delete", "default/counter@20261124", "--yes")
    assert told.exit_code == 1
    assert "the newest good one of pod counter-1: a failover needs it" in told.stderr
    assert session.store.objects == before


@pytest.mark.parametrize("words", [("default/counter",), ("default/counter@",)])
def test_which_one_has_to_be_said(reprise: Run, write: Write, words: tuple[str, ...]) -> None:
    write("ck1")
    assert reprise("checkpoint", "delete", *words).exit_code == 2


def test_a_template_prints_what_it_names(reprise: Run, session: Any) -> None:
    session.tables = {"checkpoints": [ROW]}
    template = '{range [*]}{.workload}{"\\t"}{.size_bytes}{"\\n"}{end}'
    assert reprise("checkpoint", "list", "-A", "-o", f"jsonpath={template}").stdout == "cart\t3150000\n"
    assert json.loads(reprise("checkpoint", "list", "-A", "-o", "json").stdout) == [ROW]
