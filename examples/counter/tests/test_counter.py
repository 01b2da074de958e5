"""The test app, as a process of its own."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import Counter

APP = Path(__file__).parents[1] / "counter.py"


class App(Counter):
    def __init__(self, **env: str) -> None:
        super().__init__(sys.executable, str(APP), answer_s=2, **env)


@pytest.fixture
def app() -> Iterator[App]:
    running = App()
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            running.ask("GET", "/health")
            break
        except OSError:
            time.sleep(0.02)
    yield running
    running.end()


def test_it_counts_and_its_start_marker_names_its_run(app: App) -> None:
    _, first = app.ask("GET", "/state")
    time.sleep(0.45)
    _, second = app.ask("GET", "/state")
    assert 3 <= second["count"] - first["count"] <= 6
    assert app.marker == f"started run={first['run']} count=0"


def test_its_state_can_be_set_and_nonsense_is_refused(app: App) -> None:
    assert app.ask("POST", "/state", '{"count": 1000}')[1]["count"] >= 1000
    for nonsense in ("{", "[]", '{"count": "many"}', ""):
        assert app.ask("POST", "/state", nonsense)[0] == 400
    assert app.ask("GET", "/state")[1]["count"] >= 1000
    assert app.ask("GET", "/nowhere")[0] == 404


def test_it_can_be_restored_as_the_prototypes_test_app(app: App) -> None:
    assert app.ask("GET", "/restore")[1]["restore"] is False
    for body in ('{"count": 5000}', '{"counter": 9000}'):
        assert app.ask("POST", "/restore", body)[0] == 200
    told = app.ask("GET", "/restore")[1]
    assert (told["restore"], told["counter"] >= 9000) == (True, True)
    for nonsense in ("{", "[]", "7", '{"counter": null}', '{"counter": [1]}', ""):
        assert app.ask("POST", "/restore", nonsense)[0] == 400
    assert app.ask("GET", "/restore")[1]["counter"] >= 9000


def test_it_can_be_killed(app: App) -> None:
    assert app.ask("POST", "/kill")[0] == 202
    assert app.process.wait(2) == 137


def test_it_can_hang_and_then_answers_no_more(app: App) -> None:
    assert app.ask("POST", "/hang")[0] == 202
    with pytest.raises(TimeoutError):
        app.ask("GET", "/health", timeout_s=0.3)
    assert app.process.poll() is None


def test_it_can_be_told_to_hang_at_a_count(app: App) -> None:
    status, told = app.ask("POST", "/hang/3")
    assert (status, told["at"] >= 3) == (202, True)
    time.sleep(0.8)
    with pytest.raises(TimeoutError):
        app.ask("GET", "/health", timeout_s=0.3)


def test_it_keeps_a_log_open_that_grows(tmp_path: Path) -> None:
    log = tmp_path / "log"
    running = App(LOG_FILE=str(log))
    try:
        end = time.monotonic() + 5
        while not log.exists() or len(log.read_text().splitlines()) < 3:
            assert time.monotonic() < end
            time.sleep(0.02)
        assert str(log) in [str(fd.readlink()) for fd in Path(f"/proc/{running.process.pid}/fd").iterdir() if fd.exists()]
    finally:
        running.end()
