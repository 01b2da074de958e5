"""`reprise inspect` and `diff`, of tars on this machine and of what is stored."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reprise.archive.manifest import Manifest
from reprise.archive.testing import build, members, tasks
from reprise.contracts.model import Workload
from typer.testing import Result

Run = Callable[..., Result]
Write = Callable[..., Manifest]


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.tar"
    path.write_bytes(build(members() | tasks(1, 7, name="[bold]evil\x1b[2J")))
    return path


def test_a_tar_tells_its_processes_and_what_criu_said(reprise: Run, tar: Path) -> None:
    told = reprise("inspect", str(tar))
    assert told.exit_code == 0, told.output
    assert "CRIU 4.1.1" in told.stdout
    assert "localhost/counter:1" in told.stdout
    assert "321 written of 500 seen" in told.stdout


def test_what_a_program_calls_itself_is_neither_markup_nor_obeyed_by_the_terminal(reprise: Run, tar: Path) -> None:
    told = reprise("inspect", str(tar), "--only", "processes").stdout
    assert "[bold]evil\\x1b[2J" in told
    assert "\x1b" not in told


def test_only_what_is_asked_for_is_shown(reprise: Run, tar: Path) -> None:
    told = reprise("inspect", str(tar), "--only", "processes").stdout
    assert "COMMAND" in told
    assert "CRIU" not in told


def test_as_data(reprise: Run, tar: Path) -> None:
    told = json.loads(reprise("inspect", str(tar), "-o", "json").stdout)
    assert [process["pid"] for process in told["processes"]] == [1, 7]
    assert told["facts"]["base_image"] == "localhost/counter:1"


def test_a_stored_checkpoint_is_the_newest_or_the_one_that_is_named(reprise: Run, write: Write) -> None:
    write("20261124t101112123-aa")
    write("20261125t101112123-bb")
    newest = json.loads(reprise("inspect", "default/counter", "-o", "json").stdout)
    named = json.loads(reprise("inspect", "default/deployment/counter@20261124", "-o", "json").stdout)
    assert newest["archive"] == "default/counter@20261125t101112123-bb"
    assert named["archive"] == "default/counter@20261124t101112123-aa"
    assert named["manifest"]["trigger"] == "interval"


def test_near_names_are_suggested(reprise: Run, write: Write) -> None:
    write("ck1")
    told = reprise("inspect", "default/countr")
    assert told.exit_code == 1
    assert "default/countr: no checkpoint is stored of it (did you mean counter?)" in told.stderr


def test_a_checkpoint_that_is_not_stored_names_those_that_are(reprise: Run, write: Write) -> None:
    write("ck1")
    assert "the newest are ck1" in reprise("inspect", "default/counter@ck2").stderr


def test_two_workloads_of_one_name_have_to_be_told_apart(reprise: Run, write: Write) -> None:
    write("ck1")
    write("ck2", workload=Workload(namespace="default", kind="StatefulSet", name="counter"))
    told = reprise("inspect", "default/counter")
    assert told.exit_code == 1
    assert "say which: deployment/counter -c counter, statefulset/counter -c counter" in told.stderr
    assert reprise("inspect", "default/sts/counter").exit_code == 0


@pytest.mark.parametrize("name", ["a/b/c/d", "a//b", "a@", "shop/queue/counter"])
def test_a_malformed_name_is_a_usage_error(reprise: Run, name: str) -> None:
    assert reprise("inspect", name).exit_code == 2


def test_a_bad_archive_is_named_with_its_reason(reprise: Run, tmp_path: Path) -> None:
    (tmp_path / "odd.tar").write_bytes(b"\x1f\x8b" + bytes(5000))
    told = reprise("inspect", str(tmp_path / "odd.tar"))
    assert told.exit_code == 1
    assert told.stderr.startswith("reprise: odd.tar: it is compressed: unpack it with `gzip -d` first")
    assert "cannot be read: No such file" in reprise("inspect", "./missing.tar").stderr


def test_two_checkpoints_are_compared_wherever_they_are(reprise: Run, write: Write, tmp_path: Path) -> None:
    write("ck1")
    path = tmp_path / "after.tar"
    path.write_bytes(build(members(pages=b"x" * 4096 + (bytes(range(256)) * 16) * 3) | tasks(1, 2)))
    told = json.loads(reprise("diff", "default/counter", str(path), "-o", "json").stdout)
    assert told["totals"] == {"same": 3, "changed": 1, "added": 0, "removed": 0}
    assert [process["pid"] for process in told["came"]] == [2]
    shown = reprise("diff", "default/counter", str(path)).stdout
    assert "4.1 kB, 25.0 %" in shown


def test_the_same_is_said_to_be_the_same(reprise: Run, tar: Path, session: Any) -> None:
    assert "The same processes" in reprise("diff", str(tar), str(tar)).stderr
