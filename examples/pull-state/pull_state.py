#!/usr/bin/env python3
"""A program that hands out its state: it needs no CRIU, only this API. A count that grows by 1 each 100 ms.

GET /state answers the state as application/json with an ETag, and 304 to an If-None-Match that has it; POST /state puts a state
back and answers 204, or 4xx with the reason, and then nothing is changed. GET /healthz says that it runs, GET /count what the
count is, and whether it was put back. POST /kill ends it at once. A state has the name of the run that it began in, so that one
who asks can tell a count that goes on from one that began anew. Standard library only.
"""

import hashlib
import json
import os
import secrets
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TICK_S = 0.1
MOST_BYTES = 1 << 16
VERSION = 1
"""Of the state's format: a program that is rolled back must not take what it does not understand."""


class BadState(ValueError):
    """A state that is not taken; says why."""


class Count:
    """The state, under one lock: what is handed out is of one moment."""

    def __init__(self) -> None:
        self.run = secrets.token_hex(6)
        self.restored = False
        self.refuses = int(os.environ.get("REFUSE_FIRST", "0"))
        """So many states a fresh process does not take, whatever they are: for tests of what happens then."""
        self._count = 0
        self._lock = threading.Lock()

    def tick_for_ever(self) -> None:
        due = time.monotonic()
        while True:
            # Sleeping to a fixed grid would catch up after a pause: what was lost must stay visible.
            due = max(due + TICK_S, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
            with self._lock:
                self._count += 1

    def state(self) -> bytes:
        with self._lock:
            return json.dumps({"version": VERSION, "run": self.run, "count": self._count}).encode() + b"\n"

    def put(self, body: bytes) -> None:
        """Raises BadState, and then nothing is changed."""
        if self.refuses > 0:
            self.refuses -= 1
            raise BadState("REFUSE_FIRST says so")
        try:
            told = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise BadState(f"not JSON: {error}") from error
        if not isinstance(told, dict) or told.get("version") != VERSION:
            raise BadState(f"not a state of version {VERSION}: send what GET /state answered")
        count, run = told.get("count"), told.get("run")
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise BadState('"count" is a whole number from 0 on')
        if not isinstance(run, str) or not 1 <= len(run) <= 64:
            raise BadState('"run" is the name of a run')
        with self._lock:
            self._count, self.run, self.restored = count, run, True

    def told(self) -> dict[str, Any]:
        with self._lock:
            return {"count": self._count, "run": self.run, "restored": self.restored}


def etag(body: bytes) -> str:
    """Of the same state always the same: who has it need not fetch it again."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


class Handler(BaseHTTPRequestHandler):
    """One connection per request."""

    count: Count
    timeout = 5

    def do_GET(self) -> None:
        match self.path:
            case "/state":
                self._state()
            case "/healthz":
                self._reply(200, {"status": "ok"})
            case "/count":
                self._reply(200, self.count.told())
            case _:
                self._reply(404, {"error": "use /state, /healthz or /count"})

    def do_POST(self) -> None:
        match self.path:
            case "/state":
                self._put()
            case "/kill":
                self._reply(202, {"status": "killed"})
                threading.Timer(0.02, os._exit, [137]).start()
            case _:
                self._reply(404, {"error": "use /state or /kill"})

    def _state(self) -> None:
        body = self.count.state()
        if self.headers.get("If-None-Match") == etag(body):
            self._send(304, b"", {"ETag": etag(body)})
        else:
            self._send(200, body, {"ETag": etag(body)})

    def _put(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            self._reply(411, {"error": "send a Content-Length"})
            return
        if int(length) > MOST_BYTES:
            self._reply(413, {"error": f"a state has at most {MOST_BYTES} bytes"})
            return
        try:
            self.count.put(self.rfile.read(int(length)))
        except BadState as error:
            self._reply(400, {"error": str(error)})
            return
        print(f"state restored: {json.dumps(self.count.told())}", flush=True)
        self._send(204, b"", {})

    def _reply(self, status: int, body: dict[str, Any]) -> None:
        self._send(status, json.dumps(body).encode() + b"\n", {})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        if status not in (204, 304):
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet: probes come each second."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    count = Count()
    Handler.count = count
    # Pid 1 has no default action for SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    server = Server(("", int(os.environ.get("PORT", "8080"))), Handler)
    print(f"started run={count.run} count=0", flush=True)
    threading.Thread(target=count.tick_for_ever, daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
