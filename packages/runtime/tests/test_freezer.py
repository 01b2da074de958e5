"""The freezer's two layouts, on a directory tree with the kernel's file names."""

import signal
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
    (pod / "crio-abc/freezer.state").write_text("FROZEN")  # as the kernel says it of each below a frozen one
    (pod / "crio-conmon-abc/freezer.state").write_text("FROZEN")
    assert freezer.freeze("abc")
    assert freezer.is_frozen("abc")
    assert (pod / "freezer.state").read_text() == "FROZEN"
    freezer.thaw("abc")
    assert not freezer.is_frozen("abc")
    assert ((pod / "freezer.state").read_text(), (pod / "crio-conmon-abc/freezer.state").read_text()) == ("THAWED", "FROZEN")


def v2_group(tmp_path: Path) -> Path:
    group = tmp_path / "kubepods.slice/kubepods-podu1.slice/crio-abc.scope"
    group.mkdir(parents=True)
    (group / "cgroup.freeze").write_text("0")
    (group.parent / "cgroup.freeze").write_text("0")
    (group / "cgroup.events").write_text("populated 1\nfrozen 1\n")
    (group / "pids.current").write_text("1\n")
    return group


def test_v2_freezes_the_pod_and_thaws_it_or_the_container_alone(tmp_path: Path) -> None:
    group = v2_group(tmp_path)
    freezer = CgroupFreezer(str(tmp_path))
    assert freezer.runs("abc")
    assert freezer.freeze("abc")
    assert ((group.parent / "cgroup.freeze").read_text(), (group / "cgroup.freeze").read_text()) == ("1", "0")
    assert freezer.is_frozen("abc")
    freezer.thaw("abc")
    assert not freezer.is_frozen("abc")
    (group / "cgroup.freeze").write_text("1")  # by the engine, for a checkpoint
    assert freezer.is_frozen("abc")
    freezer.thaw_alone("abc")
    assert freezer.runs("abc")


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


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The processes that were sent SIGKILL; 8 has ended by itself."""
    found: list[int] = []

    def kill(pid: int, number: int) -> None:
        assert number == signal.SIGKILL
        found.append(pid)
        if pid == 8:
            raise ProcessLookupError

    monkeypatch.setattr("os.kill", kill)
    return found


def test_v1_each_process_is_killed_before_any_is_thawed(tmp_path: Path, killed: list[int]) -> None:
    pod = v1_pod(tmp_path)
    freezer = CgroupFreezer(str(tmp_path))
    (pod / "crio-abc/cgroup.procs").write_text("7\n8\n")
    (pod / "crio-abc/inner").mkdir()
    (pod / "crio-abc/inner/cgroup.procs").write_text("9\n")
    (pod / "crio-conmon-abc/cgroup.procs").write_text("5\n")
    (pod / "freezer.state").write_text("FROZEN")
    (pod / "crio-abc/freezer.state").write_text("FROZEN")
    assert not freezer.is_gone("abc")
    freezer.kill("abc")
    assert sorted(killed) == [7, 8, 9]
    assert (pod / "crio-abc/freezer.state").read_text() == "THAWED"
    assert (pod / "freezer.state").read_text() == "FROZEN", "whoever froze the pod thaws it"


def test_v1_what_cannot_be_seen_is_not_thawed(tmp_path: Path, killed: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    pod = v1_pod(tmp_path)
    freezer = CgroupFreezer(str(tmp_path))
    (pod / "crio-abc/freezer.state").write_text("FROZEN")
    monkeypatch.setattr("os.getpid", lambda: 1)
    assert not freezer.is_gone("abc"), "that is not known"
    with pytest.raises(OSError, match="hostPID"):
        freezer.kill("abc")
    assert (pod / "crio-abc/freezer.state").read_text() == "FROZEN"
    assert not killed
    assert "hostPID" in freezer.limitation()


def test_v1_what_has_ended_already_is_thawed(tmp_path: Path, killed: list[int]) -> None:
    pod = v1_pod(tmp_path)
    freezer = CgroupFreezer(str(tmp_path))
    (pod / "crio-abc/freezer.state").write_text("FROZEN")
    assert freezer.is_gone("abc")
    freezer.kill("abc")  # still counted, not listed: nobody has reaped it
    assert (pod / "crio-abc/freezer.state").read_text() == "THAWED"
    assert not killed


UID = "214681c1-a711-4885-b5a4-fd3286124b1e"


@pytest.mark.parametrize(
    "path",
    [
        f"kubepods/burstable/pod{UID}", f"kubepods/pod{UID}",
        f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID.replace('-', '_')}.slice",
        f"kubepods.slice/kubepods-pod{UID.replace('-', '_')}.slice",
    ],
)  # fmt: skip
@pytest.mark.parametrize("version", [1, 2])
def test_a_frozen_pod_is_found_and_thawed_by_its_uid_whatever_is_left_in_it(tmp_path: Path, path: str, version: int) -> None:
    pod = tmp_path / ("freezer" if version == 1 else ".") / path
    pod.mkdir(parents=True)
    told, state = ("freezer.self_freezing", "freezer.state") if version == 1 else ("cgroup.freeze", "cgroup.freeze")
    (pod / told).write_text("1\n")
    freezer = CgroupFreezer(str(tmp_path))
    freezer.thaw_pod("another")
    assert (pod / told).read_text() == "1\n"
    freezer.thaw_pod(UID)
    assert (pod / state).read_text() in ("THAWED", "0")


def test_v2_is_killed_by_its_cgroup(tmp_path: Path) -> None:
    group = v2_group(tmp_path)
    freezer = CgroupFreezer(str(tmp_path))
    assert not freezer.is_gone("abc")
    freezer.kill("abc")
    assert (group / "cgroup.kill").read_text() == "1"
    (group / "cgroup.events").write_text("populated 0\nfrozen 1\n")
    assert freezer.is_gone("abc"), "though its monitor, frozen too, has not reaped it"


def test_what_has_ended_is_left_alone_else_the_runtime_would_take_it_for_paused(tmp_path: Path) -> None:
    pod = v1_pod(tmp_path)
    freezer = CgroupFreezer(str(tmp_path))
    assert freezer.runs("abc")
    counted = tmp_path / "pids/kubepods/burstable/podu1/crio-abc"
    counted.mkdir(parents=True)
    (counted / "pids.current").write_text("0\n")
    assert not freezer.runs("abc")
    assert not freezer.freeze("abc")
    assert ((pod / "freezer.state").read_text(), (pod / "crio-abc/freezer.state").read_text()) == ("THAWED", "THAWED")


def test_v2_what_sigkill_ended_while_it_was_frozen_is_not_left_frozen(tmp_path: Path) -> None:
    group = v2_group(tmp_path)
    (group / "pids.current").unlink()  # a node without the pids controller
    (group / "cgroup.events").write_text("populated 0\nfrozen 1\n")
    freezer = CgroupFreezer(str(tmp_path))
    assert not freezer.runs("abc")
    assert freezer.is_gone("abc")
    assert not freezer.freeze("abc")
    assert (group.parent / "cgroup.freeze").read_text() == "0"


@pytest.mark.parametrize(
    "path",
    [
        f"kubepods/burstable/pod{UID}/abc",
        f"kubepods/pod{UID}/crio-abc",
        f"kubepods.slice/kubepods-pod{UID.replace('-', '_')}.slice/cri-containerd-abc.scope",
        f"kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UID.replace('-', '_')}.slice/cri-containerd-abc.scope",
    ],
    ids=["containerd, cgroupfs", "crio, cgroupfs", "containerd, systemd", "kind"],
)
def test_a_container_is_found_whatever_the_runtime_and_its_driver(tmp_path: Path, path: str) -> None:
    group = tmp_path / path
    group.mkdir(parents=True)
    for each in (group, group.parent):
        (each / "cgroup.freeze").write_text("0")
    (group / "cgroup.events").write_text("populated 1\nfrozen 1\n")
    freezer = CgroupFreezer(str(tmp_path))
    assert freezer.freeze("abc")
    assert (group.parent / "cgroup.freeze").read_text() == "1", "its pod"
    freezer.thaw_pod(UID)
    assert (group.parent / "cgroup.freeze").read_text() == "0"


@pytest.mark.parametrize(
    ("self_frozen", "tracer", "state", "waiting"),
    [("1", 77, "D", {77}), ("1", 77, "S", set()), ("1", 0, "D", set()), ("0", 77, "D", set()), ("1", 78, "D", set())],
    ids=["waits", "works", "is not traced", "is not frozen by itself", "its tracer has ended"],
)
def test_v1_who_waits_to_trace_what_is_frozen(
    tmp_path: Path, self_frozen: str, tracer: int, state: str, waiting: set[int]
) -> None:
    pod, proc = v1_pod(tmp_path), tmp_path / "proc"
    (pod / "crio-abc/freezer.self_freezing").write_text(f"{self_frozen}\n")
    (pod / "crio-abc/cgroup.procs").write_text("12\n13\n")
    for pid in ("12", "77"):  # 13 has just ended
        (proc / pid).mkdir(parents=True)
    (proc / "12/status").write_text(f"Name:\tpython3\nTracerPid:\t{tracer}\nUid:\t0\n")
    (proc / "77/stat").write_text(f"77 (criu: (dump)) {state} 1 77")
    assert CgroupFreezer(str(tmp_path), str(proc)).waiting_tracers("abc") == waiting


def test_v2_lets_ptrace_through(tmp_path: Path) -> None:
    (v2_group(tmp_path) / "cgroup.freeze").write_text("1")
    assert not CgroupFreezer(str(tmp_path)).waiting_tracers("abc")
