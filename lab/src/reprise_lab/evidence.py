"""What the cluster said while a test failed: the lab's logs outlive neither `down` nor the next test's restarts. A conftest
imports the two hooks; each failure's logs are kept below build/evidence, and its lines about the test's workloads printed.
"""

import re
import shutil
from collections.abc import Generator, Iterator
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


def about(namespaces: list[str], since: dict[Path, int]) -> list[str]:
    """The lines about those namespaces' pods, in the order of their times. since: bytes of each log that are older."""
    said = [(who, line) for who, path in logs() for line in _new(path, since) if not any(word in line for word in CHATTER)]
    names = set(namespaces)
    for _, line in said:
        if any(namespace in line for namespace in namespaces):
            names.update(NAMED.findall(line))
            names.update(re.findall(rf"(?:{'|'.join(map(re.escape, namespaces))})/([a-z0-9-]+)", line))
    pattern = re.compile("|".join(map(re.escape, names)))
    found = [(MOMENT.search(line), who, line) for who, line in said if pattern.search(line)]
    return [f"{who}: {line[:WIDTH]}" for _, who, line in sorted((m.group(), who, line) for m, who, line in found if m)]


def keep(folder: Path, since: dict[Path, int]) -> None:
    """Copy what each log grew by."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for who, path in logs():
        lines = _new(path, since)
        if lines:
            with (folder / f"{who.replace('/', '_')}.log").open("a") as copy:
                copy.writelines(f"{line}\n" for line in lines)


def _new(path: Path, since: dict[Path, int]) -> list[str]:
    try:
        with path.open("rb") as log:
            log.seek(since.get(path, 0))
            return log.read().decode(errors="replace").splitlines()
    except OSError:  # removed with its container meanwhile
        return []


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
        keep(folder, item.stash[SIZES])
        every = kubectl("get", "namespaces", "-o", "name", check=False).split()
        told = report.longreprtext
        namespaces = [name for name in (word.removeprefix("namespace/") for word in every) if name in told]
        lines = about(namespaces, item.stash[SIZES])[-PRINTED:] if namespaces else []
        report.sections.append((f"the lab's words about {', '.join(namespaces)}; all is in {folder}", "\n".join(lines)))
    return report
