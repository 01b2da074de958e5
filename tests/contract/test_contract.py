"""The contract's files are made from its models, and fit what others read them with."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import yaml

ROOT = Path(__file__).parents[2]
GENERATE = ROOT / "packages/contracts/generate_contract.py"


def document() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "docs/asyncapi.yaml").read_text()))


def test_the_contracts_files_are_current_and_break_nothing_that_was_released() -> None:
    told = subprocess.run([sys.executable, GENERATE, "--check"], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr


def test_the_asyncapi_document_fits_asyncapis_own_schema() -> None:
    """The schema is 3.0.0-without-$id.json of the npm package @asyncapi/specs 6.11.1, without its examples and descriptions."""
    schema = json.loads(Path(__file__).with_name("asyncapi-3.0.0.json").read_text())
    validator = jsonschema.Draft7Validator(schema)
    assert not list(validator.iter_errors(document()))
    broken = document()
    broken["operations"]["node.lost"]["action"] = "shout"
    assert list(validator.iter_errors(broken))


def test_every_reference_in_the_asyncapi_document_leads_somewhere() -> None:
    whole = document()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                found: Any = whole
                for part in value["$ref"].removeprefix("#/").split("/"):
                    found = found[part]
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(whole)


def test_each_schema_is_a_schema() -> None:
    files = sorted((ROOT / "docs/schemas/v1").glob("*.json"))
    assert files
    for file in files:
        jsonschema.Draft202012Validator.check_schema(json.loads(file.read_text()))
