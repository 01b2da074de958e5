"""`reprise store`, over a store in memory."""

import json
from collections.abc import Callable
from typing import Any

import yaml
from reprise.archive.crypto import FetchedKeys
from reprise.archive.manifest import Manifest
from typer.testing import Result

Run = Callable[..., Result]
Write = Callable[[str], Manifest]


def pack_key(manifest: Manifest) -> str:
    return manifest.lineage.pack(manifest.packs[0].id)


def flip(session: Any, key: str) -> None:
    body = bytearray(session.store.objects[key])
    body[100] ^= 1
    session.store.objects[key] = bytes(body)


def test_nothing_found_exits_with_0(reprise: Run, write: Write) -> None:
    write("ck1")
    told = reprise("store", "check", "--read-data")
    assert (told.exit_code, told.stdout) == (0, "")
    assert "No damage found" in told.stderr


def test_a_lost_pack_exits_with_3_and_names_the_checkpoint_and_what_to_do(reprise: Run, write: Write, session: Any) -> None:
    key = pack_key(write("ck1"))
    del session.store.objects[key]
    told = reprise("store", "check")
    assert told.exit_code == 3
    line = next(line for line in told.stdout.splitlines() if line.startswith("lost-pack"))
    assert key in line
    assert "ck1" in line
    assert "--repair" in line


def test_data_is_the_same_as_json_and_yaml(reprise: Run, write: Write, session: Any) -> None:
    flip(session, pack_key(write("ck1")))
    as_json, as_yaml = (reprise("store", "check", "--read-data", "-o", form) for form in ("json", "yaml"))
    assert (as_json.exit_code, as_yaml.exit_code) == (3, 3)
    told = json.loads(as_json.stdout)
    assert told == yaml.safe_load(as_yaml.stdout)
    assert told["findings"][0]["checkpoints"] == ["ck1"]


def test_repair_heals_from_a_nodes_copy_and_exits_with_0(reprise: Run, write: Write, session: Any) -> None:
    key = pack_key(write("ck1"))
    session.held.packs[key] = session.store.objects.pop(key)
    told = reprise("store", "check", "--repair")
    assert told.exit_code == 0, told.output
    assert "healed from a node's copy" in told.stdout
    assert reprise("store", "check", "--read-data").exit_code == 0


def test_repair_does_not_upload_a_copy_that_is_damaged_itself(reprise: Run, write: Write, session: Any) -> None:
    key = pack_key(write("ck1"))
    flip(session, key)
    session.held.packs[key] = session.store.objects[key]
    assert reprise("store", "check", "--read-data", "--repair").exit_code == 3


def test_stats_tell_how_often_the_store_is_smaller(reprise: Run, write: Write) -> None:
    for name in ("ck1", "ck2", "ck3"):
        write(name)
    told = json.loads(reprise("store", "stats", "-o", "json").stdout)
    assert told["checkpoints"] == 3
    assert told["ratio"] == round(told["archives"] / told["stored"], 3)
    header, line = reprise("store", "stats").stdout.splitlines()
    assert header.split() == ["CHECKPOINTS", "ARCHIVES", "STORED", "RATIO"]
    assert line.split()[0] == "3"


def test_stats_of_an_empty_store_have_no_ratio(reprise: Run) -> None:
    assert json.loads(reprise("store", "stats", "-o", "json").stdout)["ratio"] is None


def test_gc_dry_run_says_what_it_would_free_and_removes_nothing(reprise: Run, write: Write, session: Any) -> None:
    manifest = write("ck1")
    for key in (manifest.key, manifest.recipe_key):
        del session.store.objects[key]
    before = dict(session.store.objects)
    assert reprise("store", "gc", "--dry-run").stdout.startswith("Would free")
    assert session.store.objects == before
    told = json.loads(reprise("store", "gc", "-o", "json").stdout)
    assert told["packs"]
    assert told["freed"] > 0
    assert pack_key(manifest) not in session.store.objects


def test_gc_says_what_it_left_alone_and_exits_with_3(reprise: Run, write: Write, session: Any) -> None:
    session.store.objects[write("ck1").key] = b"{"
    told = reprise("store", "gc")
    assert told.exit_code == 3
    assert "left alone" in told.stderr


def test_with_keys_of_ones_own_a_rotation_wraps_every_key_under_the_active_one(reprise: Run, write: Write, session: Any) -> None:
    secret = {"active": b"k1", "k1": b"1" * 32, "k2": b"2" * 32}
    session.keys = FetchedKeys(secret, "a Secret")
    write("ck1")
    secret["active"] = b"k2"
    keys = sorted(key for key in session.store.objects if key.startswith("keys/"))
    assert json.loads(reprise("keys", "rotate", "-o", "json").stdout)["rewrapped"] == keys
    told = reprise("keys", "rotate")
    assert (told.exit_code, told.stdout) == (0, "")
    assert "0 keys wrapped anew" in told.stderr
    del secret["k1"]
    assert reprise("store", "check", "--read-data").exit_code == 0
