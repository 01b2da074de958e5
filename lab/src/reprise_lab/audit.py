"""`make audit`: does anything that the locks name have a known vulnerability?

Exits with 1 if anything has, else with 3 if anything could not be checked, else with 0: a database that cannot be reached is no
answer.
"""

import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from reprise_lab.build import go_env
from reprise_lab.paths import CHECKOUT, UV

OSV = "https://api.osv.dev"
GOVULNCHECK = "golang.org/x/vuln/cmd/govulncheck@v1.9.0"
TOOLS = CHECKOUT / "build/tools"


class Outcome(IntEnum):
    """What an audit found; as the exit code that says so."""

    CLEAN = 0
    VULNERABLE = 1
    UNCHECKED = 3


@dataclass(frozen=True)
class Audit:
    """Commands, of which the last is the scanner: 0 is its exit code for nothing known, `known` its exit code for something."""

    of: str
    commands: tuple[tuple[str | Path, ...], ...]
    known: int
    cwd: Path = CHECKOUT

    def run(self) -> Outcome:
        """Run it to its end or its first failure. What a tool prints is shown as it is."""
        *before, scan = self.commands
        for command in before:
            if self._code(command):
                return Outcome.UNCHECKED
        return {0: Outcome.CLEAN, self.known: Outcome.VULNERABLE}.get(self._code(scan), Outcome.UNCHECKED)

    def _code(self, command: tuple[str | Path, ...]) -> int:
        env = go_env() | {"GOBIN": str(TOOLS)}
        return subprocess.run(command, cwd=self.cwd, env=env, check=False).returncode


def packages(service_url: str = OSV) -> Audit:
    """Every Python package of uv.lock, the tools of our own tests among them."""
    scan = (UV, "audit", "--frozen", "--preview-features", "audit-command", "--service-url", service_url)
    return Audit("the Python packages of uv.lock", (scan,), known=1)


def engine() -> Audit:
    """The engine, with the Go that builds it; only what it can reach by a call counts."""
    install = ("go", "install", GOVULNCHECK)
    scan = (TOOLS / "govulncheck", "./...")
    return Audit("the engine and Go's standard library", (install, scan), known=3, cwd=CHECKOUT / "engine")


def summary(outcomes: dict[str, Outcome]) -> Iterator[str]:
    words = {
        Outcome.CLEAN: "checked, no known vulnerability",
        Outcome.VULNERABLE: "KNOWN VULNERABILITIES, see above",
        Outcome.UNCHECKED: "NOT CHECKED, see above",
    }
    return (f"audit: {of}: {words[outcome]}" for of, outcome in outcomes.items())


def verdict(outcomes: Iterable[Outcome]) -> Outcome:
    """What is known weighs more than what is not; only where everything was checked is it clean."""
    found = set(outcomes)
    return next((o for o in (Outcome.VULNERABLE, Outcome.UNCHECKED) if o in found), Outcome.CLEAN)


def main(audits: Iterable[Audit]) -> Outcome:
    outcomes = {audit.of: audit.run() for audit in audits}
    print(*summary(outcomes), sep="\n", flush=True)
    return verdict(outcomes.values())


if __name__ == "__main__":
    sys.exit(main([packages(), engine()]))
