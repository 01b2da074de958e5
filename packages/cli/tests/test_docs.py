"""docs/cli.md has every command and every option of it, and every exit code."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from reprise.cli import output
from reprise.cli.main import app, complete

TEXT = (Path(__file__).parents[3] / "docs/cli.md").read_text()
EVERYWHERE = {"--output", "--help", "--kubeconfig", "--context", "--namespace", "--install-completion", "--show-completion"}


def commands(command: Any, path: str) -> Iterator[tuple[str, set[str]]]:
    """Each command's words and its long options."""
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, f"{path} {name}")
    if not hasattr(command, "commands"):
        yield path, {option for param in command.params for option in param.opts if option.startswith("--")} - EVERYWHERE


ALL = list(commands(typer.main.get_command(app), "reprise"))


@pytest.mark.parametrize(("words", "options"), ALL, ids=[words for words, _ in ALL])
def test_a_command_is_documented_with_its_options(words: str, options: set[str]) -> None:
    paragraph = next((line for line in (*TEXT.split("\n| "), *TEXT.split("\n\n")) if f"`{words}" in line), "")
    assert paragraph, f"docs/cli.md lacks `{words}`"
    assert {option for option in options if option not in paragraph} == set()


def test_every_exit_code_is_documented() -> None:
    for code in (output.OK, output.ERROR, output.USAGE, output.FINDINGS):
        assert f"\n| {code} | " in TEXT


def test_kubectl_is_told_how_a_command_goes_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("_REPRISE_COMPLETE", "COMP_WORDS", "COMP_CWORD"):
        monkeypatch.setenv(name, "")
    for words, expected in ((["ev"], {"events"}), (["events", ""], {"tail", "replay", "schema"})):
        monkeypatch.setattr("sys.argv", ["kubectl_complete-reprise", *words])
        with pytest.raises(SystemExit):
            complete()
        *found, directive = capsys.readouterr().out.split()
        assert (set(found), directive) == (expected, ":4")
