"""The client installs on its own: what only services need is not among what it depends on, nor imported."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
UNWANTED = {"grpcio", "numpy", "fastapi", "starlette", "uvicorn", "botocore", "boto3", "pyarrow", "psycopg", "opentelemetry-sdk"}
PACKAGES = {package["name"]: package for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}


def closure(name: str) -> set[str]:
    """Of the lock: all that is installed with it, without extras that nobody asked for."""
    found, open_ = set[tuple[str, str]](), [(name, "")]
    while open_:
        each = open_.pop()
        if each in found:
            continue
        found.add(each)
        package: dict[str, Any] = PACKAGES[each[0]]
        needed = package.get("optional-dependencies", {}).get(each[1], []) if each[1] else package.get("dependencies", [])
        for needs in needed:
            open_ += [(needs["name"], ""), *((needs["name"], extra) for extra in needs.get("extra", []))]
    return {package for package, _ in found}


def test_the_client_depends_on_nothing_that_only_services_need() -> None:
    found = closure("reprise-cli")
    assert {"httpx", "kubernetes", "nats-py", "reprise-contracts"} <= found, "or this test looks at nothing"
    assert found & UNWANTED == set()
    assert "numpy" in closure("reprise-transfer"), "this test sees what is there"


def test_every_command_is_there_without_what_the_extra_installs() -> None:
    """In an interpreter that cannot import them, as where the extra is not installed."""
    names = {"numpy", "zstandard", "blake3", "pyfastcdc", "grpc", "starlette", "uvicorn", "structlog", "opentelemetry.sdk"}
    program = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in {names!r} or name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
from reprise.cli.main import app
import reprise.cli.adapters.cluster, reprise.cli.adapters.stream, reprise.runtime.access.authority
app(["store", "check"])
"""
    environment = {"REPRISE_STORE_ENDPOINT": "127.0.0.1:1", "REPRISE_KEK_DIR": "/nowhere", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment)
    assert "Traceback" not in done.stderr, done.stderr
    assert (done.returncode, "does not answer" in done.stderr) == (1, True), done.stderr
