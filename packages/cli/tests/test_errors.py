"""Every error is one line that says what failed, on what, and what to do; never a stack trace."""

import base64
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml
from reprise.cli.main import app
from typer.testing import CliRunner, Result

NOBODY = "127.0.0.1:1"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("STORE_ENDPOINT", "CONSOLE_URL", "KEK_DIR"):
        monkeypatch.delenv(f"REPRISE_{name}", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))


def run(*words: str) -> Result:
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 1, told.output
    assert told.stdout == ""
    assert told.stderr.startswith("reprise: ")
    assert told.stderr.count("\n") == 1, told.stderr
    return told


def kubeconfig(folder: Path, server: str) -> str:
    path = folder / "kubeconfig"
    context = {"name": "lab", "context": {"cluster": "lab", "user": "me", "namespace": "shop"}}
    path.write_text(yaml.safe_dump({
        "current-context": "lab", "contexts": [context], "clusters": [{"name": "lab", "cluster": {"server": server}}],
        "users": [{"name": "me", "user": {"token": "t"}}],
    }))  # fmt: skip
    return str(path)


class ApiServer(BaseHTTPRequestHandler):
    """Answers as an API server to one who may do nothing but read the store's Secret, and find no pod."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.endswith("/secrets/reprise-store"):
            value = base64.b64encode(b"x").decode()
            self._answer(200, {"kind": "Secret", "data": {"access-key": value, "secret-key": value}})
        elif path.endswith("/services/minio"):
            self._answer(200, {"kind": "Service", "spec": {"selector": {"app": "minio"}, "ports": [{"port": 9000}]}})
        elif path.endswith("/pods"):
            self._answer(200, {"kind": "PodList", "items": []})
        elif path.endswith("/namespaces/nosuch"):
            self._answer(404, {"kind": "Status", "reason": "NotFound", "message": 'namespaces "nosuch" not found'})
        else:
            self._answer(403, {"kind": "Status", "reason": "Forbidden", "message": "me may not"})

    def _answer(self, code: int, body: object) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture
def api_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = HTTPServer(("127.0.0.1", 0), ApiServer)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("KUBECONFIG", kubeconfig(tmp_path, f"http://127.0.0.1:{server.server_port}"))
    yield
    server.shutdown()
    server.server_close()


def test_no_kubeconfig() -> None:
    told = run("store", "stats").stderr
    assert "no cluster can be found" in told
    assert "REPRISE_STORE_ENDPOINT" in told


def test_a_kubeconfig_that_is_garbage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "garbage").write_text("{: no yaml")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "garbage"))
    assert "no cluster can be found" in run("status").stderr


def test_an_api_server_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", kubeconfig(tmp_path, f"http://{NOBODY}"))
    assert f"API server: http://{NOBODY} does not answer" in run("store", "stats").stderr


@pytest.mark.usefixtures("api_server")
def test_a_right_that_is_missing_is_named() -> None:
    told = run("store", "check").stderr + run("status").stderr
    assert "service console in reprise-system: me may not (ask for the right" in told


@pytest.mark.usefixtures("api_server")
def test_a_service_without_a_ready_pod() -> None:
    assert "service minio in reprise-system: no pod of it is ready" in run("store", "stats").stderr


@pytest.mark.usefixtures("api_server")
def test_a_namespace_that_is_not_there() -> None:
    assert "namespace nosuch: there is no such namespace" in run("status", "-n", "nosuch").stderr


@pytest.mark.parametrize("endpoint", [NOBODY, "http://127.0.0.1:9000", "a b", "nowhere.invalid:9000"])
def test_a_bad_endpoint(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPRISE_STORE_ENDPOINT", endpoint)
    assert "REPRISE_STORE_ENDPOINT" in run("store", "stats").stderr


def test_checking_directly_needs_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPRISE_STORE_ENDPOINT", NOBODY)
    assert "store" in run("store", "check").stderr


@pytest.mark.parametrize("url", [f"http://{NOBODY}", "no url", "ftp://x", "http://[", ""])
def test_a_console_that_does_not_answer(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPRISE_CONSOLE_URL", url)
    run("status")


def test_a_setting_that_is_nonsense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPRISE_STORE_SECURE", "perhaps")
    assert "REPRISE_STORE_SECURE" in run("store", "stats").stderr
