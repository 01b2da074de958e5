"""The real cluster. `make e2e` boots it, builds the images and deploys Reprise; these fixtures only use it."""

import json
import re
import secrets
from collections.abc import Iterator

import pytest
from reprise_lab import counter, faults
from reprise_lab.evidence import SIZES, pytest_runtest_makereport, pytest_runtest_setup
from reprise_lab.lost import Lost, Prepare, powered_off
from reprise_lab.shell import kubectl, poll
from reprise_lab.witness import Witness

__all__ = ["pytest_runtest_makereport", "pytest_runtest_setup"]


@pytest.fixture(scope="session", autouse=True)
def cluster() -> None:
    text = kubectl("get", "nodes", "-o", "json", check=False)
    if not text:
        pytest.exit("the lab is down: `make up images deploy`, or `make e2e`, which does it all", returncode=3)
    ready = [n["metadata"]["name"] for n in json.loads(text)["items"]]
    assert {"n1", "n2"} <= set(ready)


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> Iterator[str]:
    """One of its own for each test, removed afterwards, while the next test runs; never used before, because the ledger
    remembers.
    """
    name = named_after(request.node)
    yield name
    counter.remove(name, wait=False)


def named_after(item: pytest.Item) -> str:
    return re.sub("[^a-z0-9]+", "-", item.name.removeprefix("test_"))[:40].strip("-") + f"-{secrets.token_hex(3)}"


@pytest.fixture
def protected_counter(namespace: str) -> Iterator[Witness]:
    """A counter on n1 that is protected, under the eyes of the witness."""
    counter.protect(namespace)
    with Witness(namespace) as witness:
        yield witness


@pytest.fixture
def node_comes_back() -> Iterator[None]:
    """n1 may be powered off: it is on again, and Reprise ready there, before the next test."""
    yield
    faults.power_on("n1")
    poll(60, services_ready, "Reprise on n1 to be ready again", 0.5)


def lost_with(item: pytest.Item) -> Prepare | None:
    """What the test wants to lose n1 with: `@pytest.mark.lost_with(prepare=...)`."""
    marker = item.get_closest_marker("lost_with")
    return marker.kwargs["prepare"] if marker else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that lose n1 together are the last ones, one after the other: nothing else happens to what they look at."""
    items.sort(key=lambda item: lost_with(item) is not None)


@pytest.fixture(scope="session")
def lost_together(request: pytest.FixtureRequest) -> Iterator[dict[str, Lost | Exception]]:
    """By test: n1 was lost, once, with the workloads of all the tests that run and lose it like that, and is back."""
    wanted = {item.nodeid: prepare for item in request.session.items if (prepare := lost_with(item))}
    names = {item.nodeid: named_after(item) for item in request.session.items if item.nodeid in wanted}
    with powered_off({names[test]: prepare for test, prepare in wanted.items()}) as found:
        poll(60, services_ready, "Reprise on n1 to be ready again", 0.5)
        yield {test: found[name] for test, name in names.items()}


@pytest.fixture
def lost(request: pytest.FixtureRequest, lost_together: dict[str, Lost | Exception]) -> Lost:
    """The test's own workload, after n1 was lost with it and has come back."""
    own = lost_together[request.node.nodeid]
    request.node.stash[SIZES] = request.session.stash.setdefault(SIZES, request.node.stash[SIZES])  # logs of the loss itself
    if isinstance(own, Exception):
        raise own
    return own


def services_ready() -> bool:
    names = ("daemonset/checkpointer", "daemonset/health-watcher", "daemonset/transfer")
    return all(kubectl("-n", "reprise-system", "get", name, "-o", "jsonpath={.status.numberReady}") == "2" for name in names)
