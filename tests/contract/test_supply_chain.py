"""What Reprise is built from is pinned, and the SBOM names it.

Not tested: the engine's SBOM and govulncheck. Each would build a tool of many modules, and the engine has no dependency.
"""

import json
import re
import subprocess
import tomllib
from typing import Any

import pytest
import yaml
from rendered import ROOT, render
from reprise_lab.paths import UV


def pinned_uv() -> str:
    [version] = re.findall(r"^uv==(\d+\.\d+\.\d+) \\$", (ROOT / "deploy/uv.txt").read_text(), re.MULTILINE)
    return str(version)


def test_the_uv_that_runs_is_the_pinned_one() -> None:
    told = subprocess.run([UV, "--version"], capture_output=True, text=True, check=True).stdout
    assert told.split()[1] == pinned_uv()


@pytest.mark.parametrize("file", ["Makefile", "deploy/Dockerfile"])
def test_pip_installs_by_hash_or_from_the_checkout_alone(file: str) -> None:
    installs = re.findall(r"pip install ((?:[^&\n\\]|\\\n)+)", (ROOT / file).read_text())
    assert installs
    for words in installs:
        named = [word for word in words.split() if not word.startswith("-")]
        own = "--no-deps" in words and any(word.strip('"').startswith("./") for word in named)
        assert own or "--require-hashes" in words, words


@pytest.fixture(scope="module")
def sbom(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """In a folder of its own: another worker of these tests may make one at the same time."""
    folder = tmp_path_factory.mktemp("sbom")
    subprocess.run(["make", f"SBOM={folder}", str(folder / "python.json")], cwd=ROOT, capture_output=True, check=True)
    return dict(json.loads((folder / "python.json").read_text()))


def test_the_sbom_names_what_the_lock_names_for_the_images_and_nothing_else(sbom: dict[str, Any]) -> None:
    assert sbom["bomFormat"] == "CycloneDX"
    named = {(component["name"], component["version"]) for component in sbom["components"]}
    assert named == required() | own()


def test_the_sbom_has_the_hashes_of_the_lock(sbom: dict[str, Any]) -> None:
    named = {
        (component["name"], component["version"]): {
            h["content"] for file in component["externalReferences"] for h in file["hashes"]
        }
        for component in sbom["components"]
        if (component["name"], component["version"]) not in own()
    }
    locked = {
        (package["name"], package["version"]): {
            file["hash"].removeprefix("sha256:") for file in (package.get("sdist"), *package.get("wheels", [])) if file
        }
        for package in lock()["package"]
    }
    wrong = [package for package, hashes in named.items() if hashes != locked[package]]
    assert named
    assert not wrong


def lock() -> dict[str, Any]:
    return tomllib.loads((ROOT / "uv.lock").read_text())


def required() -> set[tuple[str, str]]:
    """What the images install; test_files.py compares it with the lock."""
    return set(re.findall(r"^([\w.-]+)==([^ ]+)", (ROOT / "deploy/requirements.txt").read_text(), re.MULTILINE))


def own() -> set[tuple[str, str]]:
    members = set(lock()["manifest"]["members"])
    return {(p["name"], p["version"]) for p in lock()["package"] if p["name"] in members}


def unpinned(image: str) -> bool:
    """No digest, and a tag that says nothing: none, or `latest`."""
    name, _, tag = image.rpartition("/")[2].partition(":")
    return "@sha256:" not in image and tag in ("", "latest") and bool(name)


@pytest.mark.parametrize(
    ("image", "wrong"),
    [
        ("nats", True),
        ("nats:latest", True),
        ("registry.example.com:5000/nats", True),
        ("nats:2.12-alpine", False),
        (f"registry.example.com:5000/nats@sha256:{'0' * 64}", False),
    ],
)
def test_an_image_without_a_version_is_told_from_one_with(image: str, wrong: bool) -> None:
    assert unpinned(image) is wrong


def test_every_image_of_the_development_servers_has_a_version() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.dev.yml").read_text())["services"]
    assert not [s["image"] for s in services.values() if unpinned(s["image"])]


def test_every_base_of_a_dockerfile_has_a_version() -> None:
    files = [ROOT / "deploy/Dockerfile", *(ROOT / "examples").glob("*/Dockerfile")]
    bases = {file: re.findall(r"^ARG BASE=(\S+)", file.read_text(), re.MULTILINE) for file in files}
    assert all(bases.values()), "a Dockerfile has no ARG BASE"
    assert not [base for found in bases.values() for base in found if unpinned(base)]


@pytest.mark.component
@pytest.mark.parametrize("overlay", ["lab", "lab-cgroup-v1", "lab/infra", "production"])
def test_every_image_of_an_overlay_has_a_version(overlay: str) -> None:
    images = {image for document in render(ROOT / "deploy/overlays" / overlay) for image in images_of(document)}
    assert images
    assert not [image for image in images if unpinned(image)]


def images_of(document: Any) -> list[str]:
    """Of every container, wherever in a manifest it stands."""
    if isinstance(document, dict):
        here = [document["image"]] if isinstance(document.get("image"), str) else []
        return here + [image for value in document.values() for image in images_of(value)]
    return [image for value in document for image in images_of(value)] if isinstance(document, list) else []
