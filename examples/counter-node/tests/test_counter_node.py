"""The counter in Node: it counts, and takes a count, as the one in Python does."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import Counter

APP = Path(__file__).parents[1] / "counter.js"
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="Node is not installed here; on the lab it is in the image")


@pytest.fixture
def app() -> Iterator[Counter]:
    running = Counter(str(NODE), str(APP), answer_s=5, UV_USE_IO_URING="0")
    yield running
    running.end()


def test_it_counts_and_its_start_marker_names_its_run(app: Counter) -> None:
    _, first = app.ask("GET", "/state")
    time.sleep(1)
    _, second = app.ask("GET", "/state")
    assert second["count"] - first["count"] >= 3
    assert app.marker == f"started run={first['run']} count=0"


def test_its_count_can_be_put_back_and_nonsense_is_refused(app: Counter) -> None:
    assert app.ask("GET", "/restore")[1]["restore"] is False
    for body in ('{"count": 5000}', '{"counter": 9000}'):
        assert app.ask("POST", "/restore", body)[0] == 200
    for nonsense in ("{", "[]", "null", "7", '{"counter": "many"}', '{"counter": 1e99}', ""):
        assert app.ask("POST", "/restore", nonsense)[0] == 400
    assert app.ask("POST", "/state", " " * (1 << 17))[0] == 413
    told = app.ask("GET", "/restore")[1]
    assert (told["restore"], told["counter"] >= 9000) == (True, True)
    assert app.ask("GET", "/nowhere")[0] == 404


def test_it_can_be_killed(app: Counter) -> None:
    assert app.ask("POST", "/kill")[0] == 202
    assert app.process.wait(5) == 137


def test_it_can_hang_and_then_answers_no_more(app: Counter) -> None:
    assert app.ask("POST", "/hang")[0] == 202
    time.sleep(0.5)
    with pytest.raises(TimeoutError):
        app.ask("GET", "/health", timeout_s=0.5)
    assert app.process.poll() is None
