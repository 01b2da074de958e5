"""The files that the engine and the agents share."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reprise.contracts.records import HAND_BACK
from reprise.runtime.nodefiles import ContainerVerdict, NodeFiles, Owner, PodFile, RequestFile, StartFile

UNPROTECTED = Path(__file__).parents[3] / "engine/internal/entry/testdata/unprotected.json"


def test_a_pod_file_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    verdict = ContainerVerdict(verdict="restore", slots=("shop/u1",), checkpoint_id="c1", rejected=("c0",), frozen=True)
    file = PodFile(namespace="shop", pod="cart-0", uid="u1", containers={"app": verdict})
    files = NodeFiles(tmp_path)
    files.write_pod(file)
    assert files.read_pod("u1") == file
    assert list(files.pods()) == ["u1"]


def test_a_pod_of_which_nothing_is_protected_has_the_file_that_the_engine_reads_without_starting_go(tmp_path: Path) -> None:
    files = NodeFiles(tmp_path)
    files.write_pod(PodFile(namespace="shop", pod="cart-0", uid="u1", workload=Owner(kind="Deployment", name="cart")))
    assert (tmp_path / "pods/u1.json").read_bytes() == UNPROTECTED.read_bytes()


def test_nothing_but_the_whole_file_lies_there_after_a_write(tmp_path: Path) -> None:
    files = NodeFiles(tmp_path)
    files.write_request("c1", RequestFile(checkpoint_id="x", slots="shop/u1", expires_at_s=1.0))
    assert [path.name for path in (tmp_path / "requests").iterdir()] == ["c1.json"]
    assert (tmp_path / "requests/c1.json").stat().st_mode & 0o777 == 0o600


@given(st.binary(max_size=200))
def test_a_file_that_cannot_be_parsed_counts_as_absent(body: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        files = NodeFiles(Path(folder))
        (Path(folder) / "starts").mkdir()
        (Path(folder) / "starts/c1.json").write_bytes(body)
        assert files.read_start("c1") is None
        assert list(files.starts()) == []


def test_fields_of_a_newer_version_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "starts").mkdir()
    (tmp_path / "starts/c1.json").write_text(
        '{"version": 1, "container_id": "c1", "namespace": "shop", "pod": "cart-0", "pod_uid": "u1", "container": "app",'
        ' "outcome": "restored", "checkpoint_id": "x", "of_tomorrow": 7}'
    )
    found = NodeFiles(tmp_path).read_start("c1")
    assert found == StartFile(
        container_id="c1", namespace="shop", pod="cart-0", pod_uid="u1", container="app", outcome="restored", checkpoint_id="x"
    )


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="names no file"):
        NodeFiles(tmp_path).read_pod(name)


def test_the_engine_and_the_agent_mean_the_same_by_a_start_that_waits_for_its_state() -> None:
    engine = Path(__file__).parents[3] / "engine/internal/create/create.go"
    assert f'const handBack = "{HAND_BACK}"\n' in engine.read_text()
