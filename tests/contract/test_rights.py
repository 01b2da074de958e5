"""The table of rights at NATS has what the services use, and docs/security.md says what it has."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from reprise.runtime.access import rights
from reprise.runtime.access.rights import ARBITER, ROLES, Role

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/security.md").read_text()
OF_NODE = ("health-watcher", "checkpointer", "transfer")
OF_ARBITER = {"elections", "leases", "brake"}


def sources(service: str) -> Iterator[str]:
    for path in (ROOT / "services" / service / "src").rglob("*.py"):
        if path.name != "testing.py":
            yield path.read_text()


def role_of(service: str) -> Role:
    return ROLES["agents" if service in OF_NODE else service]


def buckets(role: Role) -> set[str]:
    return {name.partition("/")[0] for name in (*role.reads, *role.writes)}


SERVICES = sorted(path.parent.name for path in (ROOT / "services").glob("*/pyproject.toml"))


@pytest.mark.parametrize("service", SERVICES)
def test_every_bucket_that_a_service_uses_is_in_the_table(service: str) -> None:
    used = {name for text in sources(service) for name in re.findall(r'\bBucket\([\w.]+, "([\w-]+)"', text)}
    used |= {"elections" for text in sources(service) if "Election(service.bus" in text}
    allowed = buckets(role_of(service)) | (OF_ARBITER | buckets(ARBITER) if service == "health-watcher" else set())
    assert used <= allowed


@pytest.mark.parametrize("service", SERVICES)
def test_every_consumer_of_a_service_is_in_the_table(service: str) -> None:
    named = r'\.subscribe\(\s*f?"([^"]+)"'
    used = {re.sub(r"\{[^}]*\}", rights.NODE, name) for text in sources(service) for name in re.findall(named, text)}
    assert used <= set(role_of(service).consumers)
    assert used or service in ("console", "webhook"), "these name theirs elsewhere"


def test_no_consumer_in_the_table_is_one_that_nobody_serves() -> None:
    named = {name for service in SERVICES for text in sources(service) for name in re.findall(r'"([\w-]+)(?:-\{[^}]*\})?"', text)}
    for role in ROLES.values():
        assert {name.removesuffix(f"-{rights.NODE}") for name in role.consumers} - {rights.NODE} <= named


def row(user: str) -> tuple[set[str], set[str]]:
    """The names in each of the two columns."""
    [line] = [line for line in TEXT.splitlines() if re.match(rf"\| (\.\.\. as )?`{user}`[^|]*\| ", line)]
    _, _, emits, writes, _ = line.split("|")
    return set(re.findall(r"`([^`]+)`", emits)), set(re.findall(r"`([^`]+)`", writes))


@pytest.mark.parametrize("user", [*ROLES, "arbiter"])
def test_the_documentation_has_the_table(user: str) -> None:
    role = ARBITER if user == "arbiter" else ROLES[user]
    assert row(user) == ({event.TYPE for event in role.emits}, {name.partition("/")[0] for name in role.writes})
