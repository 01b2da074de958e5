"""`reprise checkpoint export`: from the store to a file, and what it says when that cannot be done."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reprise.archive.manifest import Manifest
from reprise.archive.oci import digest
from reprise.archive.testing import FixedKeys
from reprise.contracts.model import Workload
from typer.testing import Result

Run = Callable[..., Result]
Write = Callable[..., Manifest]


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "exported.tar"


def test_the_newest_is_exported_or_the_one_that_is_named(reprise: Run, write: Write, to: Path) -> None:
    old, new = write("20261124t101112123-aa"), write("20261125t101112123-bb")
    for words, expected in (
        (("default/counter",), new),
        (("default/counter@20261124",), old),
        (("default/deployment/counter@20261124",), old),
        (("default/counter@20261125", "-c", "counter"), new),
    ):
        told = reprise("checkpoint", "export", *words, "--to", str(to), "--force", "-o", "json")
        assert told.exit_code == 0, told.output
        assert json.loads(told.stdout) == {
            "file": str(to), "format": "tar", "size": expected.size, "digest": f"sha256:{expected.sha256}",
            "image": f"localhost:5797/default/deployment-counter/counter:{expected.checkpoint_id}",
            "checkpoint": expected.checkpoint_id, "workload": str(expected.workload), "pod": "counter-1", "container": "counter",
        }  # fmt: skip
        assert digest(to.read_bytes()) == f"sha256:{expected.sha256}"


def test_for_people_it_says_what_is_where_on_standard_error_and_warns(reprise: Run, write: Write, to: Path) -> None:
    write("ck1")
    told = reprise("checkpoint", "export", "default/counter", "--to", str(to), "--format", "oci")
    assert (told.exit_code, told.stdout) == (0, "")
    named = "default/counter@ck1 (pod counter-1, container counter) as localhost:5797/default/deployment-counter/counter:ck1"
    assert f"{named} is in {to}: " in told.stderr
    assert "unencrypted" in told.stderr


def test_a_file_that_exists_is_not_replaced_unasked(reprise: Run, write: Write, to: Path) -> None:
    write("ck1")
    to.write_bytes(b"mine")
    told = reprise("checkpoint", "export", "default/counter", "--to", str(to))
    assert told.exit_code == 1
    assert told.stderr == f"reprise: {to}: it exists (--force replaces it; or name another file)\n"
    assert to.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("default/countr",), "default/countr: no checkpoint is stored of it (did you mean counter?)"),
        (
            ("default/counter@ck9",),
            "checkpoint ck9 is not stored, or its manifest is damaged (the newest are ck1)",
        ),
        (("default/counter", "-c", "sidecar"), "no checkpoint is stored of it, container sidecar"),
    ],
)
def test_what_is_not_stored_is_said_with_what_is(reprise: Run, write: Write, to: Path, words: tuple[str, ...], said: str) -> None:
    write("ck1")
    told = reprise("checkpoint", "export", *words, "--to", str(to))
    assert told.exit_code == 1
    assert said in told.stderr
    assert not to.exists()


def test_two_workloads_of_one_name_have_to_be_told_apart(reprise: Run, write: Write, to: Path) -> None:
    write("ck1")
    write("ck2", workload=Workload(namespace="default", kind="StatefulSet", name="counter"))
    assert "say which" in reprise("checkpoint", "export", "default/counter", "--to", str(to)).stderr
    assert reprise("checkpoint", "export", "default/sts/counter", "--to", str(to)).exit_code == 0


def test_damage_names_the_checkpoint_and_the_pack_and_leaves_no_file(reprise: Run, write: Write, session: Any, to: Path) -> None:
    manifest = write("ck1")
    pack = manifest.packs[0].id
    del session.store.objects[manifest.lineage.pack(pack)]
    before = sorted(to.parent.iterdir())
    told = reprise("checkpoint", "export", "default/counter", "--to", str(to))
    assert told.exit_code == 1
    assert f"checkpoint ck1: pack {pack}: it is not in the store (`reprise store check --repair`" in told.stderr
    assert sorted(to.parent.iterdir()) == before


def test_a_key_that_cannot_be_had_is_said(reprise: Run, write: Write, to: Path, session: Any) -> None:
    write("ck1")
    session.keys = FixedKeys("k2")
    told = reprise("checkpoint", "export", "default/counter", "--to", str(to))
    assert told.exit_code == 1
    assert "it was wrapped under another key" in told.stderr
    assert not to.exists()


def test_what_the_extra_installs_is_named_where_it_is_missing(
    reprise: Run, write: Write, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("ck1")

    def absent(*_: Any) -> None:
        raise ModuleNotFoundError("No module named 'numpy'", name="numpy")

    monkeypatch.setattr("reprise.archive.repository.Repository.open", absent)
    told = reprise("checkpoint", "export", "default/counter", "--to", str(to))
    assert told.exit_code == 1
    assert "numpy is not installed (pip install 'reprise-cli[contents]')" in told.stderr
