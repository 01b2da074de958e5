"""The admission policies limit each right to write that rbac.yaml gives, and docs/security.md has the table of calls."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from api_calls import table
from reprise.contracts.annotations import RESTORED_GATE
from reprise.contracts.model import Workload
from reprise.health_watcher.adapters.leases import ARBITER, PREFIX
from reprise.restorer.adapters import taints
from reprise.restorer.ports import guard_name
from reprise.runtime.kube import PROTECTED

BASE = Path(__file__).parents[2] / "deploy/base"
FILES = ("policies.yaml", "console-limits.yaml")
OURS = "system:serviceaccount:reprise-system:"
WRITES = {"create": "CREATE", "update": "UPDATE", "patch": "UPDATE", "delete": "DELETE"}
UNLIMITED = {"events", "nodes/checkpoint", "tokenreviews", "subjectaccessreviews"}
"""Nothing is changed by these, or (nodes/checkpoint) admission is not asked: docs/security.md."""
Document = dict[str, Any]


def documents(name: str) -> list[Document]:
    return [each for each in yaml.safe_load_all((BASE / name).read_text()) if each]


def policies() -> list[Document]:
    return [each for name in FILES for each in documents(name) if each["kind"] == "ValidatingAdmissionPolicy"]


def named(policy: Document) -> set[str]:
    """The service accounts whose requests it evaluates."""
    [condition] = policy["spec"]["matchConditions"]
    assert re.match(r"request\.userInfo\.username (==|in) ", condition["expression"])
    return set(re.findall(rf"'{OURS}([^']+)'", condition["expression"]))


def text(name: str) -> str:
    """The policy's expressions."""
    [found] = [each for each in policies() if each["metadata"]["name"] == name]
    spec = found["spec"]
    return "\n".join(each["expression"] for each in (*spec.get("variables", []), *spec["validations"]))


def rights() -> set[tuple[str, str, str]]:
    """What may be written, as rbac.yaml says: (service account, resource, operation)."""
    of_role: dict[str, set[tuple[str, str]]] = {}
    found = documents("rbac.yaml")
    for each in found:
        if each["kind"] in ("ClusterRole", "Role"):
            of_role[each["metadata"]["name"]] = {
                (resource, WRITES[verb])
                for rule in each["rules"] for resource in rule["resources"] for verb in rule["verbs"] if verb in WRITES
            }  # fmt: skip
    bindings = [each for each in found if each["kind"] in ("ClusterRoleBinding", "RoleBinding")]
    return {(s["name"], *right) for each in bindings for s in each["subjects"] for right in of_role[each["roleRef"]["name"]]}


def limited() -> set[tuple[str, str, str]]:
    return {
        (account, resource, operation)
        for policy in policies()
        for account in named(policy)
        for rule in policy["spec"]["matchConstraints"]["resourceRules"]
        for resource in rule["resources"]
        for operation in rule["operations"]
    }


def test_every_right_to_write_is_limited_by_a_policy() -> None:
    unlimited = {right for right in rights() - limited() if right[1] not in UNLIMITED}
    assert not unlimited


def test_every_policy_is_about_service_accounts_that_exist() -> None:
    accounts = {each["metadata"]["name"] for each in documents("rbac.yaml") if each["kind"] == "ServiceAccount"}
    for policy in policies():
        assert named(policy) and named(policy) <= accounts, policy["metadata"]["name"]


@pytest.mark.parametrize("name", FILES)
def test_every_policy_is_deployed_and_enforced(name: str) -> None:
    assert name in yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    bound = [each["spec"] for each in documents(name) if each["kind"] == "ValidatingAdmissionPolicyBinding"]
    own = [each for each in documents(name) if each["kind"] == "ValidatingAdmissionPolicy"]
    assert bound == [{"policyName": each["metadata"]["name"], "validationActions": ["Deny"]} for each in own]
    assert all(each["spec"]["failurePolicy"] == "Fail" for each in own)


def test_who_may_write_a_pods_status_may_write_conditions_of_its_own() -> None:
    found = text("reprise-pod-status")
    writers = {account for account, resource, _ in rights() if resource == "pods/status"}
    assert set(re.findall(rf"'{OURS}([^']+)': \[", found)) == writers
    assert f"reprise-scheduler': ['{PROTECTED}']" in found
    assert f"reprise-health-watcher': ['{RESTORED_GATE}']" in found
    assert f"reprise-restorer': ['{RESTORED_GATE}', 'Ready']" in found


def test_the_policies_use_the_names_that_the_services_use() -> None:
    leases = text("reprise-leases")
    assert f"'{PREFIX}' + variables.node" in leases
    assert f"startsWith('{PREFIX}')" in leases
    assert f"holderIdentity == '{ARBITER}'" in leases
    assert f"'{taints.PREFIX}'" in text("reprise-restorer-nodes")
    [prefix] = re.findall(r"startsWith\('([^']+)'\)", text("reprise-restorer-budgets"))
    assert guard_name(Workload(namespace="n", kind="Deployment", name="w")).startswith(prefix)


def test_the_documentation_has_the_table_of_calls() -> None:
    found = (BASE.parents[1] / "docs/security.md").read_text().splitlines()
    missing = [row for row in table() if row not in found]
    assert not missing, "\n".join(missing)
