"""The program that hands out its state, as a process of its own: one that takes its place goes on where it was."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

APP = Path(__file__).parents[1] / "pull_state.py"


class App:
    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen([sys.executable, str(APP)], env=os.environ | {"PORT": str(self.port)})
        end = time.monotonic() + 20
        while True:
            try:
                assert self.ask("GET", "/healthz")[0] == 200
                return
            except OSError:
                assert time.monotonic() < end
                time.sleep(0.02)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def count(self) -> dict[str, Any]:
        return dict(json.loads(self.ask("GET", "/count")[2]))

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def app() -> Iterator[App]:
    made = App()
    yield made
    made.end()


def test_a_fresh_process_that_is_given_the_state_goes_on_from_there(app: App) -> None:
    assert app.ask("POST", "/state", json.dumps({"version": 1, "run": "r0", "count": 1000}).encode())[0] == 204
    status, headers, state = app.ask("GET", "/state")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert app.ask("POST", "/kill")[0] == 202
    assert app.process.wait(5) == 137
    successor = App()
    try:
        assert successor.count()["restored"] is False
        assert successor.ask("POST", "/state", state)[0] == 204
        told = successor.count()
        assert (told["run"], told["restored"], told["count"] >= 1000) == ("r0", True, True)
    finally:
        successor.end()


def test_who_has_a_state_already_is_told_so(app: App) -> None:
    """As long as it is the same: it counts on within 100 ms."""
    for _ in range(50):
        etag = app.ask("GET", "/state")[1]["ETag"]
        status, _, body = app.ask("GET", "/state", If_None_Match=etag)
        if status == 304:
            assert body == b""
            break
    else:
        pytest.fail("no answer was 304")
    time.sleep(0.25)
    assert app.ask("GET", "/state", If_None_Match=etag)[0] == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"\xff\xfe", 400),
        (b"[" * 60_000, 400),
        (b'{"version": 2, "run": "r", "count": 5}', 400),
        (b'{"version": 1, "run": "r", "count": -5}', 400),
        (b'{"version": 1, "run": "r", "count": true}', 400),
        (b'{"version": 1, "run": "r", "count": 1e99}', 400),
        (b'{"version": 1, "run": 7, "count": 5}', 400),
        (b'{"version": 1, "count": 5}', 400),
        (b" " * (1 << 17), 413),
    ],
)
def test_a_state_that_is_refused_changes_nothing(app: App, body: bytes, status: int) -> None:
    before = app.count()
    told, _, why = app.ask("POST", "/state", body)
    assert (told, "error" in json.loads(why)) == (status, True)
    after = app.count()
    assert (after["run"], after["restored"]) == (before["run"], False)
    assert after["count"] >= before["count"]


def test_a_body_of_unknown_length_is_refused(app: App) -> None:
    with socket.create_connection(("127.0.0.1", app.port), timeout=5) as connection:
        connection.sendall(b"POST /state HTTP/1.0\r\nContent-Length: many\r\n\r\n")
        assert b" 411 " in connection.recv(64)


def test_what_is_not_there_is_not_found(app: App) -> None:
    assert (app.ask("GET", "/nowhere")[0], app.ask("POST", "/count")[0]) == (404, 404)
