"""The containers' logs, as the runtime writes them below /var/log/pods."""

import os
from pathlib import Path

from reprise.health_watcher.rules.log_tail import LIMIT, log_tail

READ = 4 * LIMIT
"""What the runtime writes before each line comes on top."""


class LogFiles:
    """root: the node's /var/log/pods as it is mounted here; only logs below it are read."""

    def __init__(self, root: str) -> None:
        self._root = Path(root)

    def tail(self, log_path: str) -> str:
        path = Path(log_path)
        if not log_path or ".." in path.parts or not path.is_relative_to("/var/log/pods"):
            return ""
        try:
            with (self._root / path.relative_to("/var/log/pods")).open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - READ))
                body = file.read(READ).decode(errors="replace")
        except OSError:
            return ""
        return log_tail(body if size <= READ else body.partition("\n")[2])
