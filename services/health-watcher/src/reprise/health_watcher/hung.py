"""The livenessProbe failures of this node's containers, kept until the end of each container is reported."""

import time
from collections import deque
from dataclasses import replace

from reprise.health_watcher.decide import cause_of_death
from reprise.health_watcher.model import Failing

OVER = 200
"""How many ended containers are remembered. A probe of one may still be running."""
SAME_S = 0.1
"""A probe that was under way when it ended failed for that."""


class Hung:
    """By the containers' ids."""

    def __init__(self) -> None:
        self.hanging: dict[str, str] = {}
        """Those that are being ended because they hang, and what was seen."""
        self.failing: dict[str, Failing] = {}
        self._over: deque[str] = deque(maxlen=OVER)
        self.seen_healthy: set[str] = set()
        """Those of which somebody asked, and they were: one may be checkpointed, and hang, before its probe is first run here."""

    def failed(self, container_id: str, threshold: int, began_s: float) -> None:
        """Record that a probe which began at began_s failed."""
        if container_id not in self._over:
            before = self.failing.get(container_id)
            self.failing[container_id] = Failing(threshold, (*(before.began_s if before else ()), began_s))

    def ended(self, container_id: str, ago_s: float) -> None:
        """Drop the failures of probes that began after the container had ended: a busy node notices an end late."""
        self._over.append(container_id)
        self.seen_healthy.discard(container_id)
        failing = self.failing.pop(container_id, None)
        if failing is not None:
            at_s = time.monotonic() - ago_s - SAME_S
            if before := tuple(began_s for began_s in failing.began_s if began_s < at_s):
                self.failing[container_id] = replace(failing, began_s=before)

    def is_hung(self, container_id: str) -> bool:
        """Whether it was ended for its livenessProbe: by us, or by its kubelet, at whose SIGTERM it may exit with any code."""
        failing = self.failing.get(container_id)
        return container_id in self.hanging or (
            failing is not None and cause_of_death(len(failing.began_s), failing.threshold) == "hang"
        )
