"""The counter in Node: it counts, and takes a count, as the one in Python does."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

APP = Path(__file__).parents[1] / "counter.js"
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="Node is not installed here; on the lab it is in the image")


class App:
    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        env = os.environ | {"PORT": str(self.port), "UV_USE_IO_URING": "0"}
        self.process = subprocess.Popen([str(NODE), str(APP)], env=env, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.marker = self.process.stdout.readline().strip()

    def ask(self, method: str, path: str, body: str = "", timeout_s: float = 5) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request(method, path, body=body or None)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()


@pytest.fixture
def app() -> Iterator[App]:
    running = App()
    yield running
    running.process.kill()
    running.process.wait()


def test_it_counts_and_its_start_marker_names_its_run(app: App) -> None:
    _, first = app.ask("GET", "/state")
    time.sleep(1)
    _, second = app.ask("GET", "/state")
    assert second["count"] - first["count"] >= 3
    assert app.marker == f"started run={first['run']} count=0"


def test_its_count_can_be_put_back_and_nonsense_is_refused(app: App) -> None:
    assert app.ask("GET", "/restore")[1]["restore"] is False
    for body in ('{"count": 5000}', '{"counter": 9000}'):
        assert app.ask("POST", "/restore", body)[0] == 200
    for nonsense in ("{", "[]", "null", "7", '{"counter": "many"}', '{"counter": 1e99}', ""):
        assert app.ask("POST", "/restore", nonsense)[0] == 400
    assert app.ask("POST", "/state", " " * (1 << 17))[0] == 413
    told = app.ask("GET", "/restore")[1]
    assert (told["restore"], told["counter"] >= 9000) == (True, True)
    assert app.ask("GET", "/nowhere")[0] == 404


def test_it_can_be_killed(app: App) -> None:
    assert app.ask("POST", "/kill")[0] == 202
    assert app.process.wait(5) == 137


def test_it_can_hang_and_then_answers_no_more(app: App) -> None:
    assert app.ask("POST", "/hang")[0] == 202
    time.sleep(0.5)
    with pytest.raises(TimeoutError):
        app.ask("GET", "/health", timeout_s=0.5)
    assert app.process.poll() is None
