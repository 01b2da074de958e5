"""An annotation that nobody reads is told, with what was probably meant; what is none of ours is nobody's business."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reprise.contracts import annotations, spelling
from reprise.contracts.annotations import parse


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("reprise.dev/intervall", "reprise.dev/interval"),
        ("reprise.dev/Mode", "reprise.dev/mode"),
        ("reprise.dev/onfailure", "reprise.dev/on-failure"),
        ("reprise.dev/on_failure", "reprise.dev/on-failure"),
        ("reprise.dev/cr_interval", "reprise.dev/interval"),
        ("reprise.dev/container", "reprise.dev/containers"),
        ("reprise.io/interval", "reprise.dev/interval"),
        ("repise.dev/mode", "reprise.dev/mode"),
        ("hitachienergy.com/cr_intervall", "hitachienergy.com/cr_interval"),
        ("hitachienergy.com/cr-mode", "hitachienergy.com/cr_mode"),
        ("hitachi-energy.com/cr_mode", "hitachienergy.com/cr_mode"),
        ("reprise.dev/frequency", ""),
        ("reprise.dev/", ""),
        ("hitachienergy.com/cr_xyzzy", ""),
    ],
)
def test_a_misspelt_name_is_told_with_what_was_meant(name: str, near: str) -> None:
    assert spelling.meant(name) == near
    (problem,) = parse({"reprise.dev/mode": "criu", name: "10s"}).problems
    assert (problem.annotation, problem.unread) == (name, True)
    assert near in problem.message


@pytest.mark.parametrize(
    "name",
    [
        "kubernetes.io/description", "deployment.kubernetes.io/revision", "hitachienergy.com/team", "example.com/mode",
        "kubectl.kubernetes.io/last-applied-configuration", "mode", "interval", "app.kubernetes.io/managed-by", "",
    ],
)  # fmt: skip
def test_what_is_none_of_ours_is_nobodys_business(name: str) -> None:
    assert parse({"reprise.dev/mode": "criu", name: "10s"}).problems == ()


def test_each_name_that_is_read_or_written_by_us_is_known() -> None:
    constants = {
        value for value in vars(annotations).values()
        if isinstance(value, str) and value.startswith(annotations.PREFIX)
        and value not in (annotations.PREFIX, annotations.GUARD_LABEL)
    }  # fmt: skip
    assert constants <= {*spelling.WRITTEN, *spelling.MADE}
    assert [name for name in (*spelling.WRITTEN, *spelling.MADE) if spelling.meant(name) is not None] == []


def test_each_that_is_known_is_read_somewhere() -> None:
    """A value that cannot be meant is a problem of that annotation: so somebody reads it."""
    bad = "\0 never valid"
    asked = {"move-id", "move-to", "restore-id", "restore-to", "arm"}  # any text will do
    for name in spelling.WRITTEN:
        seeds = {"ps_mode": "http", "ps_path": "/state", "ps_port": "80"}
        mode = {f"hitachienergy.com/{each}": value for each, value in seeds.items()} if "ps_" in name else {}
        mode |= {"reprise.dev/mode": "http"} if "state-" in name else {}
        found = {problem.annotation for problem in parse(mode | {name: bad}).problems if not problem.unread}
        assert name in found or name.partition("/")[2] in asked, name


def test_where_none_is_read_each_is_told_with_where_it_belongs() -> None:
    told = {"reprise.dev/mode": "criu", "reprise.dev/intervall": "1s", "a/b": "c"}
    found = spelling.misplaced(told, spelling.on_kind("DaemonSet"))
    assert [name for name, _, _ in found] == ["reprise.dev/mode", "reprise.dev/intervall"]
    assert "spec.template.metadata.annotations" in found[0][2]


@given(st.dictionaries(st.text(max_size=40), st.text(max_size=10)), st.sampled_from(["reprise.dev/", "hitachienergy.com/", ""]))
def test_no_name_breaks_it(names: dict[str, str], domain: str) -> None:
    found = spelling.misplaced({domain + name: value for name, value in names.items()}, "")
    assert len(found) <= len(names)


def test_the_reference_has_each_annotation() -> None:
    text = (Path(__file__).parents[3] / "docs/annotations.md").read_text()
    assert not [name for name in (*spelling.WRITTEN, *spelling.MADE) if f"`{name}`" not in text]
    assert not [name for name in re.findall(r"^\| `(reprise\.dev/[a-z-]+)`", text, re.M) if spelling.meant(name) is not None]
