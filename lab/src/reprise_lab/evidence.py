"""What the cluster said while a test failed: the lab's logs outlive neither `down` nor the next test's restarts. A conftest
imports the two hooks; each failure's logs are kept below build/evidence, and its lines about the test's workloads printed.
"""

import re
import shutil
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from reprise_lab.paths import CHECKOUT, NODES, RUN
from reprise_lab.shell import kubectl

SIZES = pytest.StashKey[dict[Path, int]]()
PRINTED = 80
"""Lines, the last ones."""
WIDTH = 330
MOMENT = re.compile(r"\d\d:\d\d:\d\d\.\d+")
NAMED = re.compile(r"[0-9a-f]{64}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""A container's or a sandbox's id, or a pod's UID."""
CHATTER = (
    "reconciler_common", "operation_generator", "operationExecutor", "Allowed annotations", "Checking image status",
    "Trying to access", "nor artfiact",
)  # fmt: skip


def logs() -> Iterator[tuple[str, Path]]:
    """(what says it, file): of the control plane, of the nodes, and of each container that a node still knows."""
    for path in sorted(RUN.glob("*.log")):
        yield path.stem, path
    for node in NODES:
        for path in sorted((RUN / node).glob("*.log")):
            yield f"{node}/{path.stem}", path
        for path in sorted((RUN / node / "data/var/log/pods").glob("*/*/*.log")):
            pod, container = path.parts[-3:-1]
            yield f"{node}/{pod.split('_')[1]}/{container}", path


def said(since: dict[Path, int]) -> dict[str, list[str]]:
    """The lines that came since then, by who says them. since: bytes of each log that are older."""
    found: dict[str, list[str]] = {}
    for who, path in logs():
        with suppress(OSError), path.open("rb") as log:  # removed with its container meanwhile
            log.seek(since.get(path, 0))
            found.setdefault(who, []).extend(log.read().decode(errors="replace").splitlines())
    return found


def about(namespaces: list[str], found: dict[str, list[str]]) -> list[str]:
    """The lines about those namespaces' pods, in the order of their times."""
    lines = [(who, line) for who, every in found.items() for line in every if not any(word in line for word in CHATTER)]
    of_them = re.compile("|".join(map(re.escape, namespaces)))
    pod = re.compile(rf"(?:{of_them.pattern})/([a-z0-9-]+)")
    names = {name for _, line in lines if of_them.search(line) for name in (*NAMED.findall(line), *pod.findall(line))}
    named = re.compile("|".join(map(re.escape, {*namespaces, *names})))
    told = sorted((moment.group(), who, line) for who, line in lines if named.search(line) and (moment := MOMENT.search(line)))
    return [f"{who}: {line[:WIDTH]}" for _, who, line in told]


def keep(folder: Path, found: dict[str, list[str]]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for who, lines in found.items():
        if lines:
            (folder / f"{who.replace('/', '_')}.log").write_text("\n".join(lines) + "\n")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[SIZES] = {path: _size(path) for _, path in logs()}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and SIZES in item.stash:
        folder = CHECKOUT / "build/evidence" / re.sub("[^a-zA-Z0-9]+", "-", item.name).strip("-")
        found = said(item.stash[SIZES])
        keep(folder, found)
        every = kubectl("get", "namespaces", "-o", "name", check=False).split()
        told = report.longreprtext
        namespaces = [name for name in (word.removeprefix("namespace/") for word in every) if name in told]
        lines = about(namespaces, found)[-PRINTED:] if namespaces else []
        report.sections.append((f"the lab's words about {', '.join(namespaces)}; all is in {folder}", "\n".join(lines)))
    return report
