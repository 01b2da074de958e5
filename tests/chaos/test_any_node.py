"""Any node may die, ours included: on a lab of three, each is powered off in turn, with whatever leads there.

NATS, the store, the arbiter and the restorers are on every node, or one of theirs leads on it. PostgreSQL and Jaeger are on one
node only: no recovery waits for them. `make any-node` tries each node once, and goes on until each role was lost; ROUNDS=10, ten
times.
"""

import json
import time
from collections.abc import Iterator, Mapping

import pytest
from herd import back, failovers, good
from reprise_lab import any_node, counter, kind
from reprise_lab.any_node import ROLES, Herd, Strike, held, next_node, rest, strike
from reprise_lab.paths import CHECKOUT, NODES
from reprise_lab.stored import store
from reprise_lab.verdict import judge
from reprise_lab.witness import Witness

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(6 * 3600)]
OUT = CHECKOUT / "build/any-node.json"


@pytest.fixture
def herd() -> Iterator[Herd]:
    if not kind.current().replicated:
        pytest.skip("of three nodes only: `make any-node`")
    found = Herd("any-node")
    yield found
    found.remove()


def test_whichever_node_dies_everything_on_it_serves_again_once_with_its_memory(
    herd: Herd, request: pytest.FixtureRequest
) -> None:
    strikes: list[Strike] = []
    broken: list[str] = []
    for number in range(int(request.config.getoption("--any-node-rounds", "1"))):
        untried = set(NODES)
        while True:
            herd.settle()
            holds = held()
            missing = set(ROLES) - {role for each in strikes for role in each.held} if number == 0 else set()
            node = next_node(untried, missing, holds)
            if node is None:
                break
            assert len(strikes) < (number + 1) * len(NODES) + len(ROLES), f"nothing struck was {missing}"
            untried.discard(node)
            with herd.watched() as witnesses:
                struck = strike(herd, node, witnesses, holds[node])
                strikes.append(struck)
                keep(strikes)
                for witness in witnesses.values():
                    back(witness, struck.at)
                broken += verdicts(struck, witnesses)
            rest(struck)
    assert {role for each in strikes for role in each.held} == set(ROLES)
    assert not broken, "\n".join(broken)


def verdicts(struck: Strike, witnesses: Mapping[str, Witness]) -> Iterator[str]:
    """Which rules were broken."""
    for namespace, witness in witnesses.items():
        declared = failovers(namespace, struck.wall)
        cold = any(row["state"] == "abandoned" for row in declared)
        told = judge(witness.history, since=struck.at, checkpoints=good(namespace), cold=cold)
        where = f"{struck.node} off, {namespace}"
        yield from (f"{where}: {rule}" for rule in told.broken)
        if cold:
            yield f"{where}: it started cold"
        if namespace not in struck.took_s and declared:
            yield f"{where}: it ran on another node, and a failover was declared: {declared[0]['detail']}"
        if not last_good_is_there(namespace):
            yield f"{where}: its last good checkpoint is not in the store"


def last_good_is_there(namespace: str) -> bool:
    newest = counter.wait_checkpoint(namespace, seconds=any_node.READY_S)["checkpoint_id"]
    return bool(store().get(f"archives/{namespace}/deployment.counter/counter/{newest}/manifest.json"))


def keep(strikes: list[Strike]) -> None:
    """After each: what is interrupted has told what it saw."""
    rows = [{"node": each.node, "held": each.held, "took_s": dict(each.took_s), "at": time.time()} for each in strikes]
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=1))
    last = strikes[-1]
    told = ", ".join(f"{seconds:.1f}" for seconds in last.took_s.values())
    print(f"{last.node} off, with {', '.join(last.held) or 'no leader'}: served again after {told} s", flush=True)
