"""The freezer's two layouts, on a directory tree with the kernel's file names."""

from pathlib import Path

import pytest
from reprise.runtime.freezer import CgroupFreezer


def v1_pod(tmp_path: Path) -> Path:
    pod = tmp_path / "freezer/kubepods/burstable/podu1"
    for name in ("", "crio-abc", "crio-conmon-abc"):
        (pod / name).mkdir(parents=True, exist_ok=True)
        (pod / name / "freezer.state").write_text("THAWED")
        (pod / name / "freezer.self_freezing").write_text("0\n")
        (pod / name / "cgroup.procs").write_text("")  # as it reads from another PID namespace
    (tmp_path / "freezer/kubepods/freezer.state").write_text("THAWED")
    return pod


def test_v1_finds_the_container_and_not_its_conmon(tmp_path: Path) -> None:
    pod = v1_pod(tmp_path)
    freezer = CgroupFreezer(str(tmp_path))
    assert not freezer.limitation()
    assert freezer.freeze("abc")
    assert freezer.is_frozen("abc")
    assert (pod / "crio-conmon-abc/freezer.state").read_text() == "THAWED"
    freezer.thaw("abc")
    assert not freezer.is_frozen("abc")


def test_v2_writes_cgroup_freeze(tmp_path: Path) -> None:
    group = tmp_path / "kubepods.slice/kubepods-podu1.slice/crio-abc.scope"
    group.mkdir(parents=True)
    (group / "cgroup.freeze").write_text("0")
    (group / "cgroup.events").write_text("populated 1\nfrozen 1\n")
    (group / "pids.current").write_text("1\n")
    freezer = CgroupFreezer(str(tmp_path))
    assert freezer.freeze("abc")
    assert (group / "cgroup.freeze").read_text() == "1"


def test_a_container_that_is_gone_is_not_an_error(tmp_path: Path) -> None:
    (tmp_path / "freezer/kubepods").mkdir(parents=True)
    assert not CgroupFreezer(str(tmp_path)).freeze("gone")


def test_a_node_without_the_freezer_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "not below" in CgroupFreezer(str(tmp_path / "nothing")).limitation()
    (tmp_path / "kubepods.slice").mkdir()
    assert "offers no" in CgroupFreezer(str(tmp_path)).limitation()
    (tmp_path / "kubepods.slice/cgroup.freeze").write_text("0")
    monkeypatch.setattr("os.access", lambda *_: False)  # as on a file system that is mounted read-only
    assert "cannot be written" in CgroupFreezer(str(tmp_path)).limitation()


def test_what_is_paused_is_held_by_its_pod_and_then_by_itself(tmp_path: Path) -> None:
    pod = v1_pod(tmp_path)
    freezer = CgroupFreezer(str(tmp_path))
    (pod / "crio-abc/freezer.self_freezing").write_text("1\n")
    assert freezer.hold("abc")
    assert (pod / "freezer.state").read_text() == "FROZEN"
    freezer.settle("abc")
    assert (pod / "freezer.state").read_text() == "THAWED"
    assert freezer.is_frozen("abc")
    (pod / "freezer.state").write_text("FROZEN")
    freezer.thaw("abc")
    assert (pod / "freezer.state").read_text() == "THAWED", "whoever was killed in between leaves no pod frozen"


def test_what_ran_a_moment_before_is_not_held(tmp_path: Path) -> None:
    pod = v1_pod(tmp_path)
    assert not CgroupFreezer(str(tmp_path)).hold("abc")
    assert (pod / "freezer.state").read_text() == "THAWED"


def test_what_has_ended_is_left_alone_else_the_runtime_would_take_it_for_paused(tmp_path: Path) -> None:
    pod = v1_pod(tmp_path)
    freezer = CgroupFreezer(str(tmp_path))
    assert freezer.runs("abc")
    counted = tmp_path / "pids/kubepods/burstable/podu1/crio-abc"
    counted.mkdir(parents=True)
    (counted / "pids.current").write_text("0\n")
    assert not freezer.runs("abc")
    assert not freezer.freeze("abc")
    assert (pod / "crio-abc/freezer.state").read_text() == "THAWED"
