"""`reprise store` on a real MinIO: damage done behind its back is found and named, and healed from a node's copies."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reprise.archive.crypto import SecretKeys
from reprise.archive.manifest import Manifest
from reprise.archive.repository import Repository
from reprise.archive.s3 import S3Store
from reprise.archive.testing import build, members, tasks
from reprise.cli.main import app
from reprise.contracts.model import Target, Workload
from typer.testing import CliRunner, Result

pytestmark = pytest.mark.component

WORKLOAD = Workload(namespace="default", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")


@pytest.fixture(autouse=True)
def environment(store: S3Store, minio_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an operator sets it who goes to the store directly."""
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "active").write_text("k1")
    (keys / "k1").write_bytes(bytes(range(32)))
    told = {
        "STORE_ENDPOINT": f"127.0.0.1:{minio_server.port}", "STORE_ACCESS_KEY": "reprise", "STORE_SECRET_KEY": "reprise-test",
        "KEK_DIR": str(keys), "CACHE_DIR": str(tmp_path / "cache"),
    }  # fmt: skip
    for name, value in told.items():
        monkeypatch.setenv(f"REPRISE_{name}", value)


@pytest.fixture
def stored(store: S3Store, tmp_path: Path) -> list[Manifest]:
    """Two checkpoints that share nothing of their memory."""
    repository = Repository(store, SecretKeys(tmp_path / "keys"))
    path, made = tmp_path / "checkpoint-counter.tar", []
    for name in ("ck1", "ck2"):
        path.write_bytes(build(members(pages=os.urandom(4096 * 4))))
        made.append(repository.write_archive(path, checkpoint_id=name, workload=WORKLOAD, target=TARGET, trigger="interval"))
    return made


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["store", *words])


def pack_of(manifest: Manifest) -> str:
    """Its newest: the one that it does not share."""
    return manifest.lineage.pack(manifest.packs[-1].id)


def flip(store: S3Store, key: str) -> None:
    body = bytearray(store.get(key))
    body[100] ^= 1
    store.put(key, bytes(body))


def lose(store: S3Store, key: str) -> None:
    store.delete(key)


def test_a_whole_store_is_found_whole(stored: list[Manifest]) -> None:
    told = run("check", "--read-data")
    assert told.exit_code == 0, told.output
    assert json.loads(run("stats", "-o", "json").stdout)["checkpoints"] == len(stored)


@pytest.mark.parametrize(("damage", "kind"), [(flip, "damaged-chunk"), (lose, "lost-pack")])
def test_damage_is_found_named_and_healed(
    damage: Callable[[S3Store, str], None], kind: str, stored: list[Manifest], store: S3Store, tmp_path: Path
) -> None:
    key = pack_of(stored[1])
    whole = store.get(key)
    damage(store, key)
    told = run("check", "--read-data", "-o", "json")
    assert told.exit_code == 3
    findings = json.loads(told.stdout)["findings"]
    assert {(f["kind"], f["object"]) for f in findings} == {(kind, key)}
    assert "ck2" in findings[0]["checkpoints"]
    assert re.search(rf"{kind}\s+{re.escape(key)}.*ck2", run("check", "--read-data").stdout)

    assert run("check", "--read-data", "--repair").exit_code == 3  # no copy is left anywhere
    copy = tmp_path / "cache" / key
    copy.parent.mkdir(parents=True)
    copy.write_bytes(whole)
    assert run("check", "--read-data", "--repair").exit_code == 0
    assert store.get(key) == whole
    assert run("check", "--read-data").exit_code == 0


def test_what_cannot_be_healed_is_not_used_by_the_next_checkpoint(stored: list[Manifest], store: S3Store, tmp_path: Path) -> None:
    flip(store, pack_of(stored[1]))
    assert run("check", "--read-data", "--repair").exit_code == 3
    repository, path = Repository(store, SecretKeys(tmp_path / "keys")), tmp_path / "checkpoint-counter.tar"  # ck2's
    third = repository.write_archive(path, checkpoint_id="ck3", workload=WORKLOAD, target=TARGET, trigger="interval")
    assert stored[1].packs[-1].id not in {ref.id for ref in third.packs}
    assert b"".join(repository.read_archive(third)) == path.read_bytes()
    findings = json.loads(run("check", "--read-data", "-o", "json").stdout)["findings"]
    assert {name for finding in findings for name in finding["checkpoints"]} == {"ck2"}


def test_a_lost_pack_is_found_without_reading_data_and_a_flipped_bit_is_not(stored: list[Manifest], store: S3Store) -> None:
    flip(store, pack_of(stored[0]))
    assert run("check").exit_code == 0
    store.delete(pack_of(stored[0]))
    assert run("check").exit_code == 3


def test_another_key_is_told_as_such(stored: list[Manifest], tmp_path: Path) -> None:
    (tmp_path / "keys" / "k1").write_bytes(bytes(32))
    told = run("check")
    assert told.exit_code == 3
    assert "wrong-key" in told.stdout
    assert "Secret reprise-keys" in told.stdout


def test_gc_dry_run_removes_nothing_and_gc_what_it_said(stored: list[Manifest], store: S3Store) -> None:
    for key in (stored[1].key, stored[1].recipe_key):
        store.delete(key)
    before = {entry.key: entry.size for entry in store.list("")}
    would = json.loads(run("gc", "--dry-run", "-o", "json").stdout)
    assert {entry.key: entry.size for entry in store.list("")} == before
    did = json.loads(run("gc", "-o", "json").stdout)
    assert (did["packs"], did["freed"]) == (would["packs"], would["freed"])
    assert did["freed"] == sum(before.values()) - sum(entry.size for entry in store.list(""))
    assert run("check", "--read-data").exit_code == 0


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("ACCESS_KEY", "nobody", "refuses these credentials"), ("SECRET_KEY", "wrong", "refuses these credentials"),
     ("BUCKET", "mistyped", "there is no such bucket")],
)  # fmt: skip
def test_what_the_store_refuses_is_one_line_and_makes_no_bucket(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"REPRISE_STORE_{name}", value)
    told = run("stats")
    assert (told.exit_code, told.stdout, told.stderr.count("\n")) == (1, "", 1)
    assert said in told.stderr
    assert said in run("stats").stderr


def test_a_stored_checkpoint_is_looked_into_and_compared(store: S3Store, tmp_path: Path) -> None:
    repository = Repository(store, SecretKeys(tmp_path / "keys"))
    path = tmp_path / "checkpoint-counter.tar"
    for name, first in (("ck1", b"a"), ("ck2", b"b")):
        pages = first * 4096 + os.urandom(4096 * 40)
        path.write_bytes(build(members(pages=pages) | tasks(1)))
        repository.write_archive(path, checkpoint_id=name, workload=WORKLOAD, target=TARGET, trigger="interval")
    shown = CliRunner().invoke(app, ["inspect", "default/counter@ck1", "-o", "json"])
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)["manifest"]["checkpoint_id"] == "ck1"
    compared = CliRunner().invoke(app, ["diff", "default/counter@ck2", str(path), "-o", "json"])
    assert json.loads(compared.stdout)["totals"] == {"same": 41, "changed": 0, "added": 0, "removed": 0}
    different = CliRunner().invoke(app, ["diff", "default/counter@ck1", "default/counter@ck2", "-o", "json"])
    assert json.loads(different.stdout)["totals"]["changed"] == 41
