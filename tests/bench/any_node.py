"""How long a workload is away whichever of three nodes dies, those with NATS', the store's and our own leaders among them."""

import statistics

from reprise_lab import any_node, kind
from reprise_lab.paths import NODES
from rich.progress import Progress
from rows import Row, quantile

ROUNDS = 10


def any_of_three(progress: Progress) -> list[Row]:
    """Nothing on a lab of two nodes, whose servers are on one of them."""
    if not kind.current().replicated:
        return []
    task = progress.add_task("power-off of each of three nodes", total=ROUNDS * len(NODES))
    herd, strikes = any_node.Herd("bench-any"), []
    try:
        for _ in range(ROUNDS):
            for node in NODES:
                herd.settle()
                with herd.watched() as witnesses:
                    strikes.append(any_node.strike(herd, node, witnesses, any_node.held()[node]))
                any_node.rest(strikes[-1])
                progress.advance(task)
    finally:
        herd.remove()
    took = sorted(seconds for each in strikes for seconds in each.took_s.values())
    led = sum("the leases' leader" in each.held for each in strikes)
    told = f"median {statistics.median(took):.2f}, worst {max(took):.2f}; {led} times with the leases' leader"
    how = f"{ROUNDS} times each of {len(NODES)} nodes, {any_node.EACH} workloads on it: power cut to serving with state"
    return [Row("recovery.any_node_p95_s", quantile(took, 0.95), "s", "<= 12", told, how)]
