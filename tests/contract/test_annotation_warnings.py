"""What kubectl warns of is what the services tell of: the policy's names are the contract's, and it refuses nothing."""

from pathlib import Path

import yaml
from reprise.contracts import spelling

FILE = Path(__file__).parents[2] / "deploy/base/annotation-warnings.yaml"


def test_the_policy_knows_the_same_names() -> None:
    policy, _ = yaml.safe_load_all(FILE.read_text())
    known = next(each["expression"] for each in policy["spec"]["variables"] if each["name"] == "known")
    assert sorted(yaml.safe_load(known)) == sorted((*spelling.WRITTEN, *spelling.MADE))


def test_it_warns_and_is_in_nobodys_way() -> None:
    policy, binding = yaml.safe_load_all(FILE.read_text())
    assert policy["spec"]["failurePolicy"] == "Ignore"
    assert binding["spec"] == {"policyName": policy["metadata"]["name"], "validationActions": ["Warn"]}


def test_it_is_deployed() -> None:
    made = yaml.safe_load((FILE.parent / "kustomization.yaml").read_text())
    assert FILE.name in made["resources"]
