"""One version: the packages', the command's, the images' and the changelog's agree."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
PROJECTS = sorted([*ROOT.glob("packages/*/pyproject.toml"), *ROOT.glob("services/*/pyproject.toml"), ROOT / "lab/pyproject.toml"])


@pytest.mark.parametrize("path", PROJECTS, ids=lambda path: path.parent.name)
def test_a_package_has_the_version_and_the_license(path: Path) -> None:
    project = tomllib.loads(path.read_text())["project"]
    assert (project["version"], project["license"]) == (VERSION, "Apache-2.0")


def test_what_is_installed_has_the_version() -> None:
    found = {each.metadata["Name"]: each.version for each in distributions() if each.metadata["Name"].startswith("reprise-")}
    assert len(found) >= len(PROJECTS)
    assert set(found.values()) == {VERSION}


def test_the_command_tells_the_version() -> None:
    done = subprocess.run([sys.executable, "-m", "reprise.cli.main", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"reprise {VERSION}\n"


def test_the_images_are_labelled_and_tagged_with_the_version() -> None:
    assert f'org.opencontainers.image.version="{VERSION}"' in (ROOT / "deploy/Dockerfile").read_text()
    production = yaml.safe_load((ROOT / "deploy/overlays/production/kustomization.yaml").read_text())
    tags = {image["name"]: image["newTag"] for image in production["images"] if image["name"].startswith("reprise/")}
    assert len(tags) >= 7
    assert set(tags.values()) == {VERSION}


def test_the_changelog_begins_with_the_version() -> None:
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest
    assert newest[1] == VERSION


@pytest.mark.parametrize("name", ["LICENSE", "NOTICE", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md"])
def test_what_a_project_has_is_there(name: str) -> None:
    assert (ROOT / name).read_text().strip()


def test_the_license_is_the_whole_of_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
