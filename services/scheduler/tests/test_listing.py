"""Console and doctor are told of each annotation that has no effect, wherever it is, for as long as it is there."""

from types import SimpleNamespace
from typing import Any

import pytest
from reprise.contracts import spelling
from reprise.contracts.annotations import Problem, parse
from reprise.contracts.model import Workload
from reprise.contracts.records import WrongAnnotation, WrongAnnotations
from reprise.runtime.kv import Bucket
from reprise.runtime.testing import MemoryBus, MemoryServer
from reprise.scheduler.listing import AT_MOST, Listing, listed
from reprise.scheduler.misplaced import SHOWN

CART = Workload(namespace="shop", name="cart")
DAEMON = WrongAnnotation(
    namespace="shop", kind="DaemonSet", name="agent", annotation="reprise.dev/mode", value="criu", message="nobody reads it there"
)


def pods(**problems: tuple[Problem, ...]) -> Any:
    """problems: of the workload `cart`, by its kind."""
    made = {Workload.model_validate({"namespace": "shop", "kind": kind, "name": "cart"}): each for kind, each in problems.items()}
    there = {"u1": SimpleNamespace(namespace="shop", name="cart")}
    return SimpleNamespace(problems=made, everything=there, synced=True)


def on_template() -> tuple[Problem, ...]:
    wrong = spelling.misplaced({"reprise.dev/mode": "criu"}, spelling.on_template("Deployment"))
    return tuple(Problem(annotation=name, value=value, message=why, unread=True) for name, value, why in wrong)


@pytest.mark.parametrize(
    ("problems", "says"),
    [
        (parse({"reprise.dev/intervall": "5s"}).problems, "did you mean reprise.dev/interval?"),
        (parse({"reprise.dev/mode": "criu", "reprise.dev/on-failure": "fly"}).problems, "in-place"),
        (on_template(), "move it to the Deployment's own metadata.annotations"),
    ],
    ids=["misspelt", "bad value", "pod template"],
)
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "Pod"])
def test_what_is_wrong_on_a_workload_is_listed(kind: str, problems: tuple[Problem, ...], says: str) -> None:
    [wrong] = listed(pods(**{kind: problems}), ()).found
    assert (wrong.namespace, wrong.kind, wrong.name) == ("shop", kind, "cart")
    assert says in wrong.message


def test_what_is_on_a_kind_that_is_not_supported_is_listed_too() -> None:
    assert listed(pods(), (DAEMON,)).found == (DAEMON,)


def test_a_pod_that_is_gone_is_listed_no_more() -> None:
    gone = pods(Pod=parse({"reprise.dev/intervall": "5s"}).problems)
    gone.everything.clear()
    assert listed(gone, ()).found == ()


def test_the_list_fits_a_message_however_many_there_are() -> None:
    many = tuple(DAEMON.model_copy(update={"name": f"agent-{number}", "value": "x" * SHOWN}) for number in range(2 * AT_MOST))
    found = listed(pods(), many)
    assert (len(found.found), found.left_out) == (AT_MOST, AT_MOST)
    assert len(found.model_dump_json()) < 1 << 20


async def test_the_leader_alone_writes_it_and_what_is_corrected_goes() -> None:
    server, leads = MemoryServer(), False
    bucket = Bucket(MemoryBus(server), "annotations", WrongAnnotations)
    known, misplaced = pods(Deployment=parse({"reprise.dev/intervall": "5s"}).problems), SimpleNamespace(found=(DAEMON,))
    listing = Listing(known, misplaced, bucket, lambda: leads)  # type: ignore[arg-type]
    await listing.look()
    assert await bucket.get(WrongAnnotations.ALL) is None
    leads = True
    for _ in range(2):
        await listing.look()
    entry = await bucket.get(WrongAnnotations.ALL)
    assert entry
    assert [each.kind for each in entry.value.found] == ["DaemonSet", "Deployment"]
    known.problems.clear()
    misplaced.found = ()
    await listing.look()
    after = await bucket.get(WrongAnnotations.ALL)
    assert after
    assert (after.value, after.revision) == (WrongAnnotations(), entry.revision + 1), "it was written once for each state"
