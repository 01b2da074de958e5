"""The manifests of deploy/ as kustomize renders them."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


def render(folder: Path) -> list[dict[str, Any]]:
    from reprise_lab.paths import BIN

    told = subprocess.run([BIN / "kubectl", "kustomize", folder], capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(told.stdout))
