"""The real cluster. `make e2e` boots it, builds the images and deploys Reprise; these fixtures only use it."""

import json
import re
import secrets
from collections.abc import Iterator

import pytest
from reprise_lab import counter, faults
from reprise_lab.evidence import pytest_runtest_makereport, pytest_runtest_setup
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
    name = re.sub("[^a-z0-9]+", "-", request.node.name.removeprefix("test_"))[:40].strip("-") + f"-{secrets.token_hex(3)}"
    yield name
    counter.remove(name, wait=False)


@pytest.fixture
def protected_counter(namespace: str) -> Iterator[Witness]:
    """A counter on n1 that is protected, under the eyes of the witness."""
    counter.deploy(namespace, env=counter.LINGERS)
    counter.wait_protected(namespace)
    counter.wait_checkpoint(namespace)
    with Witness(namespace) as witness:
        yield witness


@pytest.fixture
def node_comes_back() -> Iterator[None]:
    """n1 may be powered off: it is on again, and Reprise ready there, before the next test."""
    yield
    faults.power_on("n1")
    poll(60, services_ready, "Reprise on n1 to be ready again", 0.5)


def services_ready() -> bool:
    names = ("daemonset/checkpointer", "daemonset/health-watcher", "daemonset/transfer")
    return all(kubectl("-n", "reprise-system", "get", name, "-o", "jsonpath={.status.numberReady}") == "2" for name in names)
