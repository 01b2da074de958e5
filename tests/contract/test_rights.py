"""The table of rights at NATS has what the services use, and docs/security.md says what it has."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from reprise.runtime.access import rights
from reprise.runtime.access.rights import ROLES, Role

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/security.md").read_text()
OF_NODE = ("health-watcher", "checkpointer", "transfer")
OF_ARBITER = ("arbiter_main.py", "arbiter.py", "brake.py")
"""health-watcher's package has the arbiter in it: what only that one imports."""
OF_BOTH = "leases.py"


def sources(service: str) -> Iterator[str]:
    folder = "health-watcher" if service == "arbiter" else service
    for path in (ROOT / "services" / folder / "src").rglob("*.py"):
        of_arbiter = folder == "health-watcher" and path.name in OF_ARBITER
        if path.name != "testing.py" and (path.name == OF_BOTH or of_arbiter == (service == "arbiter")):
            yield path.read_text()


def role_of(service: str) -> Role:
    return ROLES["agents" if service in OF_NODE else service]


def buckets(role: Role) -> set[str]:
    return {name.partition("/")[0] for name in (*role.reads, *role.writes)}


SERVICES = ["arbiter", *sorted(path.parent.name for path in (ROOT / "services").glob("*/pyproject.toml"))]


@pytest.mark.parametrize("service", SERVICES)
def test_every_bucket_that_a_service_uses_is_in_the_table(service: str) -> None:
    used = {name for text in sources(service) for name in re.findall(r'\bBucket\([\w.]+, "([\w-]+)"', text)}
    used |= {"elections" for text in sources(service) if "Election(service.bus" in text}
    assert used <= buckets(role_of(service))


@pytest.mark.parametrize("service", SERVICES)
def test_every_consumer_of_a_service_is_in_the_table(service: str) -> None:
    named = r'\.subscribe\(\s*f?"([^"]+)"'
    used = {re.sub(r"\{[^}]*\}", rights.NODE, name) for text in sources(service) for name in re.findall(named, text)}
    assert used <= set(role_of(service).consumers)
    assert used or service in ("arbiter", "console", "webhook"), "it has none; these name theirs elsewhere"


def test_no_consumer_in_the_table_is_one_that_nobody_serves() -> None:
    named = {name for service in SERVICES for text in sources(service) for name in re.findall(r'"([\w-]+)(?:-\{[^}]*\})?"', text)}
    for role in ROLES.values():
        assert {name.removesuffix(f"-{rights.NODE}") for name in role.consumers} - {rights.NODE} <= named


def row(user: str) -> tuple[set[str], set[str]]:
    """The names in each of the two columns."""
    [line] = [line for line in TEXT.splitlines() if re.match(rf"\| `{user}`[^|]*\| ", line)]
    _, _, emits, writes, _ = line.split("|")
    return set(re.findall(r"`([^`]+)`", emits)), set(re.findall(r"`([^`]+)`", writes))


@pytest.mark.parametrize("user", ROLES)
def test_the_documentation_has_the_table(user: str) -> None:
    role = ROLES[user]
    assert row(user) == ({event.TYPE for event in role.emits}, {name.partition("/")[0] for name in role.writes})
