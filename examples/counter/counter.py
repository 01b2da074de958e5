#!/usr/bin/env python3
"""The test app: a number that lives in memory only, so that a restored process differs from a blank one.

It adds 1 each 100 ms. GET /state, POST /state or /restore {"count": N} (the prototype's body {"counter": N} is taken too), GET
/restore (the count, and whether it was ever put back), GET /health, POST /kill (SIGKILL itself), POST /hang (stop answering and
counting), POST /hang/N (do so N ticks later: that is in its memory).
BALLOON_MIB fills memory with random bytes and dirties DIRTY_PAGES of it (1) at each tick, far from
each other. LINGER_S: how long it goes on as before after SIGTERM, as a program does that puts its things in order.
LOG_FILE: a file that it keeps open for reading and writing, and writes a line to at each tick, as a database does with its log.
At its start, and never after a restore, it prints a line with its run id. Standard library only.
"""

import json
import os
import secrets
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TextIO

TICK_S = 0.1
PAGE = 4096
FAR = 7919
"""Pages from one that is dirtied to the next; a prime, so that all are."""


class Counter:
    """The state. hanging: nothing moves or answers any more."""

    def __init__(self, balloon_mib: int, dirty_pages: int = 1, log: TextIO | None = None) -> None:
        self.run = secrets.token_hex(6)
        self.started = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.count = 0
        self.restored = False
        self.hanging = threading.Event()
        self.hangs_at: int | None = None
        """A count: part of its state, so that it hangs there after a restore too."""
        self.balloon_mib = balloon_mib
        self.dirty_pages = dirty_pages
        self._log = log
        self._balloon = bytearray()
        for _ in range(balloon_mib):
            self._balloon += os.urandom(1 << 20)

    def tick_for_ever(self) -> None:
        due = time.monotonic()
        while True:
            # Sleeping to a fixed grid would catch up after a restore: what was lost must stay visible.
            due = max(due + TICK_S, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
            if self.hanging.is_set():
                threading.Event().wait()
            self.count += 1
            if self.hangs_at is not None and self.count >= self.hangs_at:
                self.hanging.set()
            if self._balloon:
                self._dirty()
            if self._log:
                print(self.count, file=self._log, flush=True)
            if self.count % 10 == 0:
                print(f"count={self.count} run={self.run}", flush=True)

    def _dirty(self) -> None:
        for number in range(self.count * self.dirty_pages, (self.count + 1) * self.dirty_pages):
            at = number * FAR * PAGE % len(self._balloon)
            self._balloon[at : at + 4] = (number & 0xFFFFFFFF).to_bytes(4, "big")

    def state(self) -> dict[str, Any]:
        return {"run": self.run, "count": self.count, "started": self.started, "balloon_mib": self.balloon_mib}


class Handler(BaseHTTPRequestHandler):
    """One connection per request: an open connection would be in the checkpoint."""

    counter: Counter
    timeout = 5

    def do_GET(self) -> None:
        self._hold()
        match self.path:
            case "/state":
                self._reply(200, self.counter.state())
            case "/health":
                self._reply(200, {"status": "ok"})
            case "/restore":
                self._reply(200, {"restore": self.counter.restored, "counter": self.counter.count})
            case _:
                self._reply(404, {"error": "use /state, /health or /restore"})

    def do_POST(self) -> None:
        self._hold()
        match self.path:
            case "/state" | "/restore":
                self._set()
            case "/kill":
                self._reply(202, {"status": "killed"})
                # SIGKILL to oneself is ignored by pid 1 of a pid namespace: leave without any clean-up instead.
                threading.Timer(0.02, os._exit, [137]).start()
            case path if path.startswith("/hang/") and path[6:].isdecimal():
                self.counter.hangs_at = self.counter.count + int(path[6:])
                self._reply(202, {"status": "will hang", "at": self.counter.hangs_at})
            case "/hang":
                self._reply(202, {"status": "hanging"})
                self.counter.hanging.set()
            case _:
                self._reply(404, {"error": "use /state, /restore, /kill or /hang"})

    def _set(self) -> None:
        try:
            size = min(int(self.headers.get("Content-Length", "0")), 1 << 16)
            told = json.loads(self.rfile.read(size))
            self.counter.count = int(told["counter"] if "counter" in told else told["count"])
        except (ValueError, KeyError, TypeError):
            self._reply(400, {"error": 'send {"count": NUMBER}'})
            return
        self.counter.restored = True
        self._reply(200, self.counter.state())

    def _hold(self) -> None:
        if self.counter.hanging.is_set():
            threading.Event().wait()

    def _reply(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Quiet: probes come each second."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    log_file = os.environ.get("LOG_FILE", "")
    log = Path(log_file).open("w+") if log_file else None  # noqa: SIM115 as long as it lives
    counter = Counter(int(os.environ.get("BALLOON_MIB", "0")), int(os.environ.get("DIRTY_PAGES", "1")), log)
    Handler.counter = counter
    linger_s = float(os.environ.get("LINGER_S", "0"))
    # Pid 1 has no default action for SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: threading.Timer(linger_s, os._exit, [0]).start() if linger_s else os._exit(0))
    server = Server(("", int(os.environ.get("PORT", "8080"))), Handler)
    print(f"started run={counter.run} count=0", flush=True)
    threading.Thread(target=counter.tick_for_ever, daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
