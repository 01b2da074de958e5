"""Metrics, dashboard, alerts and runbooks agree with each other: none speaks of what another does not have."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from registered import Registered, registered

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy/components/monitoring"
METRICS = registered()
SERIES = {series: metric for metric in METRICS.values() for series in metric.exposed}
TARGET_LABELS = {"job", "node", "pod", "instance", "le"}
"""What Prometheus itself adds, by podmonitor.yaml."""
FEW_VALUES = {
    "bucket", "cause", "condition", "consumer", "election", "end", "has_checkpoint", "operation", "outcome", "part", "path",
    "reason", "role", "reprise_store_circuit", "step", "trigger", "type", "way", "what",
    "workload_namespace", "workload_kind", "workload", "workload_container",
}  # fmt: skip
"""Never a pod, a checkpoint or a failover: those are new each time."""


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    return dict(json.loads((MONITORING / "dashboard.json").read_text()))


def queries() -> Iterator[tuple[str, str]]:
    """Of the dashboard: the panel's title and the expression."""
    shown = dashboard()
    for panel in shown["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for annotation in shown["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


EXPRESSIONS = [*queries(), *((alert["alert"], alert["expr"]) for alert in alerts())]


def table_row(metric: Registered) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.type} | {labels} | {metric.where} | {metric.says} |"


def test_the_docs_list_every_metric_as_the_code_registers_it() -> None:
    listed = [line for line in (ROOT / "docs/observability.md").read_text().splitlines() if line.startswith("| `reprise_")]
    rows = [table_row(metric) for metric in METRICS.values()]
    assert sorted(listed) == sorted(rows), "\n".join(["docs/observability.md is to have", *(set(rows) - set(listed))])


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_a_metric_is_named_by_convention_and_its_labels_have_few_values(metric: Registered) -> None:
    """https://prometheus.io/docs/practices/naming/"""
    assert metric.name.startswith("reprise_")
    assert metric.name.endswith("_total") == (metric.type == "counter")
    assert metric.type != "histogram" or metric.name.endswith(("_seconds", "_bytes"))
    assert not re.search(r"_(ms|millis|us|micros|minutes|mib|kib|kb|mb)(_|$)", metric.name), "seconds and bytes only"
    assert set(metric.labels) <= FEW_VALUES
    assert metric.says
    assert not metric.says.endswith(".")


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS, ids=[where for where, _ in EXPRESSIONS])
def test_a_query_asks_only_for_metrics_and_labels_that_exist(where: str, expression: str) -> None:
    named = set(re.findall(r"\breprise_\w+", expression))
    series = named & SERIES.keys()
    labels = set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', expression))
    labels |= {name for group in re.findall(r"\bby \(([^)]*)\)", expression) for name in re.split(r",\s*", group)}
    known = TARGET_LABELS.union(*(SERIES[name].labels for name in series))
    assert named - series <= known, f"{where} asks for metrics that nobody registers"
    assert series or "up{" in expression
    assert labels <= known, f"{where} asks for labels that its metrics do not have"


def test_the_dashboards_variables_and_panels_are_whole() -> None:
    shown = dashboard()
    variables = {variable["name"] for variable in shown["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(shown))) - {"__rate_interval", "__all"}
    assert used <= variables
    panels = [panel for panel in shown["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in shown["panels"]}) == len(shown["panels"])
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs), panel["title"]
    for variable in shown["templating"]["list"][1:]:
        assert re.findall(r"reprise_\w+", variable["definition"])[0] in SERIES


def test_the_dashboard_says_nothing_that_grafanas_own_schema_does_not_know() -> None:
    """Its generated models keep what they know; there is no Grafana to ask."""
    shown = dashboard()
    assert unknown(shown, as_grafana_reads(shown)) == {
        "/annotations/list/titleFormat", "/annotations/list/step",  # of the Prometheus data source
        "/templating/list/definition",  # what Grafana's own pages write beside a variable's query
    }  # fmt: skip


def test_a_misspelt_field_of_the_dashboard_is_found() -> None:
    shown = dashboard()
    panel = next(panel for panel in shown["panels"] if panel["type"] == "timeseries")
    panel["targets"][0]["legendFromat"] = "{{node}}"
    assert "/panels/targets/legendFromat" in unknown(shown, as_grafana_reads(shown))


def as_grafana_reads(shown: dict[str, Any]) -> Any:
    register_default_plugins()
    return json.loads(JSONEncoder().encode(Dashboard.from_json(shown)))


def unknown(told: Any, kept: Any, path: str = "") -> set[str]:
    """Paths of what is told and was not kept, or was changed."""
    if isinstance(told, dict) and isinstance(kept, dict):
        lost = {f"{path}/{name}" for name in told.keys() - kept.keys()}
        return lost.union(*(unknown(told[name], kept[name], f"{path}/{name}") for name in told.keys() & kept.keys()))
    if isinstance(told, list) and isinstance(kept, list) and len(told) == len(kept):
        return set().union(*(unknown(*pair, path) for pair in zip(told, kept, strict=True)))
    return set() if told == kept else {path}


@pytest.mark.parametrize("alert", alerts(), ids=[alert["alert"] for alert in alerts()])
def test_each_alert_says_what_is_wrong_and_leads_to_its_runbook(alert: dict[str, Any]) -> None:
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs/runbooks.md").read_text(), re.M)
    anchors = {heading.lower() for heading in headings}  # as GitHub and most renderers make them
    page, _, anchor = alert["annotations"]["runbook_url"].rpartition("#")
    assert page.endswith("/docs/runbooks.md")
    assert anchor == alert["alert"].lower()
    assert anchor in anchors
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["description"]
    assert alert["labels"]["severity"] in ("warning", "critical")


def test_every_runbook_has_its_alert_and_every_alert_its_test() -> None:
    names = {alert["alert"] for alert in alerts()}
    runbooks = (ROOT / "docs/runbooks.md").read_text()
    assert set(re.findall(r"^## (\w+)$", runbooks, re.M)) == names
    assert {link.lower() for link in re.findall(r"\]\(#(\w+)\)", runbooks)} <= {name.lower() for name in names}
    tests = yaml.safe_load((MONITORING / "alerts.test.yaml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    fired = {case["alertname"] for case in cases if case["exp_alerts"]}
    quiet = {case["alertname"] for case in cases if not case["exp_alerts"]}
    assert fired == names
    assert names - quiet <= {"RepriseCheckpointsPaused"}, "an alert must also be seen not to fire"


@pytest.fixture
def promtool() -> str:
    from reprise_lab.paths import BIN

    assert (BIN / "promtool").exists(), "promtool is not built: `make build` does it"
    return str(BIN / "promtool")


def run(*command: object) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.component
def test_promtool_accepts_the_rules(promtool: str, tmp_path: Path) -> None:
    spec = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["spec"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec))
    run(promtool, "check", "rules", "--lint=all", "--lint-fatal", tmp_path / "rules.yaml")


@pytest.mark.component
def test_each_alert_fires_when_it_must_and_not_before(promtool: str, tmp_path: Path) -> None:
    spec = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["spec"]
    for group in spec["groups"]:
        for rule in group["rules"]:
            del rule["annotations"]  # promtool would compare each word of them
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec))
    shutil.copyfile(MONITORING / "alerts.test.yaml", tmp_path / "alerts.test.yaml")
    run(promtool, "test", "rules", tmp_path / "alerts.test.yaml")


@pytest.mark.component
def test_every_query_of_the_dashboard_is_promql(promtool: str, tmp_path: Path) -> None:
    """As recording rules: promtool parses those."""
    rules = [
        {"record": f"dashboard:query{number}", "expr": re.sub(r"\$\w+", "5m", expression)}
        for number, (_, expression) in enumerate(queries())
    ]
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    run(promtool, "check", "rules", tmp_path / "queries.yaml")


@pytest.mark.component
def test_the_component_renders_on_an_overlay(tmp_path: Path) -> None:
    from reprise_lab.paths import BIN

    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    overlay = tmp_path / "deploy/overlays/watched"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text("resources: [../../base]\ncomponents: [../../components/monitoring]\n")
    told = subprocess.run([BIN / "kubectl", "kustomize", overlay], capture_output=True, text=True, check=True)
    found = {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(told.stdout)}
    shown = found["ConfigMap", "reprise-dashboard"]
    assert shown["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(shown["data"]["reprise.json"])["uid"] == "reprise"
    monitor = found["PodMonitor", "reprise"]["spec"]
    assert found["PrometheusRule", "reprise"]
    for kind, name in found:
        if kind in ("Deployment", "DaemonSet"):
            template = found[kind, name]["spec"]["template"]
            labels, ports = template["metadata"]["labels"], template["spec"]["containers"][0]["ports"]
            assert monitor["selector"]["matchLabels"].items() <= labels.items(), name
            health = next(port for port in ports if port["name"] == monitor["podMetricsEndpoints"][0]["port"])
            annotations = template["metadata"]["annotations"]
            assert annotations["prometheus.io/scrape"] == "true"
            assert annotations["prometheus.io/port"] == str(health["containerPort"])
