"""The end of a container's log, from where the kubelet keeps it."""

from pathlib import Path

from reprise.health_watcher.adapters.logs import LogFiles


def test_the_last_lines_are_read_and_a_first_one_that_is_cut_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "ns_pod_uid/app").mkdir(parents=True)
    lines = [f"2026-11-29T10:00:00.000000000Z stdout F line {n}" for n in range(1000)]
    (tmp_path / "ns_pod_uid/app/0.log").write_text("\n".join(lines) + "\n")
    tail = LogFiles(str(tmp_path)).tail("/var/log/pods/ns_pod_uid/app/0.log")
    assert tail.endswith("line 999")
    assert all(line.startswith("line ") for line in tail.splitlines())


def test_a_path_that_leads_elsewhere_and_one_that_is_gone_are_empty(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("t stdout F secret\n")
    logs = LogFiles(str(tmp_path / "pods"))
    for path in ("", "/var/log/pods/../secret", "/etc/passwd", "/var/log/pods/gone"):
        assert logs.tail(path) == ""
