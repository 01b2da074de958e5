"""A counter as a process of its own, for the tests of the examples: both speak the same API."""

import http.client
import json
import os
import socket
import subprocess
from typing import Any


class Counter:
    """Started, and its first line read; answer_s: how long an answer may take."""

    def __init__(self, *command: str, answer_s: float, **env: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._answer_s = answer_s
        self.process = subprocess.Popen(
            command, env=os.environ | {"PORT": str(self.port)} | env, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        self.marker = self.process.stdout.readline().strip()

    def ask(self, method: str, path: str, body: str = "", timeout_s: float | None = None) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s or self._answer_s)
        try:
            connection.request(method, path, body=body or None)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
