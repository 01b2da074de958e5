"""An audit that could not ask its database never passes for one that found nothing. OSV is a server of the test's own."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product

import pytest
from reprise_lab import audit
from reprise_lab.audit import Audit, Outcome

ADVISORY = {
    "id": "GHSA-0000-0000-0000", "modified": "2026-01-01T00:00:00Z", "published": "2026-01-01T00:00:00Z",
    "schema_version": "1.6.0", "summary": "an advisory of a test", "details": "", "affected": [],
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_second_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")


@contextmanager
def osv(answer: Callable[[int], list[object]], status: int = 200) -> Iterator[str]:
    """A database that answers a batch of n queries with `answer(n)`."""

    class Database(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
            self.reply({"results": answer(len(queries))})

        def do_GET(self) -> None:
            self.reply(ADVISORY)

        def reply(self, content: object) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Database) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def nothing(queries: int) -> list[object]:
    return [{}] * queries


def one_known(queries: int) -> list[object]:
    return [{"vulns": [{"id": ADVISORY["id"], "modified": ADVISORY["modified"]}]}, *nothing(queries - 1)]


def test_packages_of_which_nothing_is_known_are_clean() -> None:
    with osv(nothing) as url:
        assert audit.packages(url).run() is Outcome.CLEAN


def test_a_known_vulnerability_of_one_package_fails_the_audit_and_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    with osv(one_known) as url:
        assert audit.packages(url).run() is Outcome.VULNERABLE
    assert "GHSA-0000-0000-0000" in capfd.readouterr().out


def test_a_database_that_cannot_be_reached_leaves_the_packages_unchecked() -> None:
    with osv(nothing) as url:
        pass
    assert audit.packages(url).run() is Outcome.UNCHECKED


def test_a_database_that_knows_no_such_query_leaves_the_packages_unchecked() -> None:
    with osv(nothing, status=404) as url:
        assert audit.packages(url).run() is Outcome.UNCHECKED


def test_a_scanner_that_cannot_be_installed_leaves_its_part_unchecked() -> None:
    assert Audit("x", (("false",), ("true",)), known=1).run() is Outcome.UNCHECKED


@pytest.mark.parametrize(
    ("code", "outcome"), [(0, Outcome.CLEAN), (3, Outcome.VULNERABLE), (1, Outcome.UNCHECKED), (2, Outcome.UNCHECKED)]
)
def test_only_the_scanners_own_exit_code_for_it_is_a_vulnerability(code: int, outcome: Outcome) -> None:
    """3 is govulncheck's; 1 is what it exits with if its database cannot be reached, 2 if it panics."""
    assert Audit("x", (("sh", "-c", f"exit {code}"),), known=3).run() is outcome


@pytest.mark.parametrize(("first", "second"), [*product(Outcome, repeat=2)])
def test_clean_is_said_only_if_everything_was_checked(first: Outcome, second: Outcome) -> None:
    verdict = audit.verdict([first, second])
    assert (verdict is Outcome.CLEAN) is (first is second is Outcome.CLEAN)
    assert (verdict is Outcome.VULNERABLE) is (Outcome.VULNERABLE in (first, second))


def test_what_was_not_checked_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    audits = [Audit("this", (("true",),), known=1), Audit("that", (("sh", "-c", "exit 2"),), known=1)]
    assert audit.main(audits) == 3
    said = capfd.readouterr().out.splitlines()
    assert said == ["audit: this: checked, no known vulnerability", "audit: that: NOT CHECKED, see above"]
