"""The cache holds what fits, lets the least recently used go, and shows nobody anything."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reprise.archive.cache import PackCache


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 700), st.booleans()), max_size=30))
def test_it_never_holds_more_than_its_budget(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, bool]]
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    cache, model = PackCache(folder, 1000, 0), dict[str, bytes]()
    for number, (name, size, reads) in enumerate(steps):
        if reads:
            assert cache.read(f"packs/{name}") == model.get(name)
            if name in model:
                model[name] = model.pop(name)
        else:
            body = bytes([number]) * size
            assert cache.put(f"packs/{name}", body)
            model.pop(name, None)
            while sum(map(len, model.values())) + size > 1000:
                model.pop(next(iter(model)))
            model[name] = body
        held = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        assert cache.size == held == sum(map(len, model.values())) <= 1000
    assert PackCache(folder, 1000, 0).size == cache.size


def test_what_is_too_large_is_not_kept(tmp_path: Path) -> None:
    cache = PackCache(tmp_path, 10, 0)
    assert not cache.put("a", bytes(11))
    assert cache.read("a") is None


def test_a_disk_that_is_nearly_full_stops_it(tmp_path: Path) -> None:
    assert not PackCache(tmp_path, 1 << 20, spare=1 << 60).put("a", b"x")


def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    cache = PackCache(tmp_path / "cache", 100, 0)
    cache.put("packs/ns/a", b"x")
    assert (tmp_path / "cache/packs/ns/a").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


def test_what_a_crash_left_half_written_is_removed(tmp_path: Path) -> None:
    (tmp_path / "a.1.part").write_bytes(b"half")
    assert PackCache(tmp_path, 100, 0).size == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["/etc/passwd", "../x", "a/../../x"])
def test_no_key_leads_outside(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="no key"):
        PackCache(tmp_path, 100, 0).put(key, b"x")
