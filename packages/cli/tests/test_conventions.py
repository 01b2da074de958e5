"""What every command has in common, as kubectl's users expect it."""

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from reprise.cli import jsonpath
from reprise.cli.examples import EXAMPLES
from reprise.cli.main import app
from reprise.cli.when import seconds
from typer.testing import CliRunner, Result

Run = Callable[..., Result]
ROOT = typer.main.get_command(app)


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
    for name, child in (children or {}).items():
        yield from leaves(child, (*path, name))


COMMANDS = dict(leaves(ROOT))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_command_has_help_with_an_example(path: tuple[str, ...]) -> None:
    told = CliRunner().invoke(app, [*path, "-h"])
    assert told.exit_code == 0
    assert "Examples" in told.stdout
    assert {"-n", "--namespace", "--context", "--kubeconfig"} <= {name for param in COMMANDS[path].params for name in param.opts}


@pytest.mark.parametrize(
    ("path", "example"), [(path, words) for path, told in EXAMPLES.items() for words, _ in told], ids=lambda value: value[:60]
)
def test_an_example_is_of_a_command_and_its_options(
    path: str, example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dump.log").touch()
    monkeypatch.chdir(tmp_path)
    program, *words = shlex.split(example)
    assert program == "reprise"
    named = path.split() or next([*each] for each in COMMANDS if words[: len(each)] == [*each])
    assert words[: len(named)] == named
    command = COMMANDS[tuple(named)]
    command.make_context(" ".join(named), words[len(named) :])


def test_every_example_is_of_a_command_that_there_is() -> None:
    assert EXAMPLES.keys() - {""} == {" ".join(path) for path in COMMANDS}


@pytest.mark.parametrize(
    "words",
    [
        ("-n", "shop", "--context", "c", "--kubeconfig", "k", "status"),
        ("status", "-n", "shop", "--context", "c", "--kubeconfig", "k"),
        ("--context", "c", "status", "--namespace=shop", "--kubeconfig", "k"),
    ],
)
def test_what_all_commands_take_stands_before_the_command_or_after_it(reprise: Run, session: Any, words: tuple[str, ...]) -> None:
    assert reprise(*words).exit_code == 0
    assert (session.chosen, session.asked) == (("k", "c"), ["shop"])


def test_labels_choose_workloads(reprise: Run, session: Any) -> None:
    row = {"namespace": "shop", "kind": "Deployment", "workload": "cart"}
    session.rows = [row, row | {"workload": "db"}]
    session.cluster.labels = {"app=cart": [("shop", "Deployment", "cart"), ("other", "Deployment", "cart")]}
    assert reprise("status", "-n", "shop", "-l", "app=cart", "-o", "name").stdout == "shop/deployment/cart\n"
    assert "with these labels" in reprise("status", "-n", "shop", "-l", "app=none").stderr


@pytest.mark.parametrize(
    ("text", "expected"), [("90s", 90), ("2m", 120), ("1h30m", 5400), ("500ms", 0.5), ("45", 45), ("1.5h", 5400)]
)
def test_a_duration_is_written_as_kubectl_has_it(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize(
    "words", [("--timeout", "soon"), ("--timeout", "0s"), ("--timeout", "-5s"), ("-o", "xml"), ("-o", "jsonpath={.a")]
)
def test_what_cannot_be_read_is_a_usage_error(reprise: Run, words: tuple[str, ...]) -> None:
    assert reprise("restore", "shop/cart", "--to", "ck1", *words).exit_code == 2


DATA = [{"name": "a", "node": {"id": 1}, "health": "ok"}, {"name": "b", "health": "stale", "node": None}]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{[*].name}", "a b"), ("[0].name", "a"), ('{range [*]}{.name}={.node.id}{"\\n"}{end}', "a=1\nb=\n"),
        ('{[?(@.health=="ok")].name}', "a"), ("first: {$[0].name}", "first: a"), ("{[0].node}", '{"id": 1}'), ("{.nothing}", ""),
    ],
)  # fmt: skip
def test_a_template_is_read_as_kubectl_reads_it(template: str, text: str) -> None:
    assert jsonpath.render(jsonpath.parse(template), DATA) == text


@pytest.mark.parametrize("template", ["{range [*]}{.name}", "{end}", "{name}", "{.a[}", "{.a", "a}"])
def test_a_template_that_cannot_be_read_says_so(template: str) -> None:
    with pytest.raises(jsonpath.BadTemplate):
        jsonpath.parse(template)


def test_the_version_is_told(reprise: Run) -> None:
    assert reprise("--version").stdout.startswith("reprise 0.")
