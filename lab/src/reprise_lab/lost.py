"""A node that is lost once with the workloads of several tests: its boot and everybody's leases are waited for once."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from reprise_lab import counter, faults, listing
from reprise_lab.shell import LabError
from reprise_lab.witness import Answer, Witness

NODE = "n1"
Prepare = Callable[[str], Witness]
"""Told a namespace, it makes the workload there and returns its witness, not begun, once the node may be lost."""
FAILOVER_S, LATE_S = 120, 15
"""How long a failover may take; and within which time an old instance that could answer does so once its node is back."""


@dataclass
class Lost:
    """A workload that was on the node, under the eyes of its witness. Times are monotonic seconds."""

    witness: Witness
    pod: dict[str, Any]
    """The one that was on the node, as it was."""
    before: Answer
    off_at: float = 0.0
    returned_at: float = 0.0

    @property
    def namespace(self) -> str:
        return self.witness.namespace


@contextmanager
def powered_off(wanted: Mapping[str, Prepare]) -> Iterator[dict[str, Lost | Exception]]:
    """By namespace: what became of it, the node being back, and its workload looked at as long as this lasts; or why it could
    not be made, which keeps none of the others from being lost.
    """
    found: dict[str, Lost | Exception] = {}
    with ExitStack() as stack, ThreadPoolExecutor(3) as pool:
        for namespace in wanted:
            stack.callback(counter.remove, namespace, wait=False)
        made = {namespace: pool.submit(prepare, namespace) for namespace, prepare in wanted.items()}
        for namespace, done in made.items():
            try:
                witness = stack.enter_context(done.result())
                [pod] = [each for each in listing.pods(namespace) if each["spec"]["nodeName"] == NODE]
                found[namespace] = Lost(witness, pod, witness.last())
            except Exception as error:
                found[namespace] = error
        lost = [each for each in found.values() if isinstance(each, Lost)]
        for each in lost:
            each.before, each.off_at = each.witness.last(), time.monotonic()
        try:
            faults.power_off(NODE)
            for each in lost:
                with suppress(LabError):  # whoever looks at it finds out
                    counter.wait_failover(each.namespace, "node-loss", FAILOVER_S)
        finally:
            for each in lost:
                each.returned_at = time.monotonic()
            faults.power_on(NODE)
        time.sleep(LATE_S)
        yield found
