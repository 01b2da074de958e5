"""The matrix of what was tried, printed at the end and kept in build/chaos.md; and the workloads that it is tried on."""

from collections.abc import Iterator

import pytest
from cells import COLUMNS, ROWS
from herd import Stall
from reprise_lab.evidence import pytest_runtest_makereport, pytest_runtest_setup
from reprise_lab.paths import CHECKOUT

__all__ = ["pytest_runtest_makereport", "pytest_runtest_setup"]

MATRIX = pytest.StashKey[dict[tuple[str, str], str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chaos-seed", default="1", help="which rows are tried with the loss of the node; `all`: every cell")
    parser.addoption("--chaos-rows", default="0", help="how many rows are tried, chosen by the seed; 0: every one")
    parser.addoption("--any-node-rounds", default="1", help="how many times each of three nodes is powered off")


@pytest.fixture(scope="session")
def matrix(request: pytest.FixtureRequest) -> dict[tuple[str, str], str]:
    return request.config.stash.setdefault(MATRIX, {})


@pytest.fixture(scope="session")
def stall() -> Iterator[Stall]:
    found = Stall()
    try:
        yield found
    finally:
        found.clear()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = config.stash.get(MATRIX, {})
    if not found:
        return
    seed = config.getoption("--chaos-seed", "1")
    lines = ["| | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    lines += ["| " + " | ".join([row, *(found.get((row, c), "") for c in COLUMNS)]) + " |" for row in ROWS]
    terminalreporter.section(f"chaos, seed {seed}")
    for line in lines:
        terminalreporter.line(line)
    out = CHECKOUT / "build/chaos.md"
    out.parent.mkdir(exist_ok=True)
    out.write_text("\n".join(lines) + "\n")
