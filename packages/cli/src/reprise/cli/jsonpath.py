"""`-o jsonpath=TEMPLATE` as kubectl has it: text, `{expression}`, `{"literal"}`, `{range expression}` ... `{end}`. Pure.

The expressions are jsonpath-ng's, with what kubectl leaves out put before them: `{.a[*].b}` is `$.a[*].b`.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

BLOCK = re.compile(r"""\{((?:[^{}"']|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')*)\}""")
ESCAPES = {r"\n": "\n", r"\t": "\t", r"\\": "\\", r"\"": '"', r"\'": "'"}
Piece = str | tuple[str, str] | tuple[str, str, list[Any]]


class BadTemplate(ValueError):
    """It cannot be read; the message says where."""


def parse(template: str) -> list[Piece]:
    """Text, ("expression", it), or ("range", expression, pieces). Raises BadTemplate."""
    text = template if "{" in template else f"{{{template}}}"
    pieces: list[Piece] = []
    open_: list[list[Piece]] = [pieces]
    for piece in _tokens(text):
        if isinstance(piece, tuple) and piece[1].startswith("range "):
            body: list[Piece] = []
            open_[-1].append(("range", _compiled(piece[1].removeprefix("range ")), body))
            open_.append(body)
        elif isinstance(piece, tuple) and piece[1] == "end":
            if len(open_) == 1:
                raise BadTemplate("{end} without {range ...}")
            open_.pop()
        else:
            open_[-1].append(piece if isinstance(piece, str) else ("expression", _compiled(piece[1])))
    if len(open_) > 1:
        raise BadTemplate("{range ...} without {end}")
    return pieces


def _tokens(text: str) -> Iterator[str | tuple[str, str]]:
    at = 0
    for found in BLOCK.finditer(text):
        yield text[at : found.start()]
        inner = found[1].strip()
        if len(inner) > 1 and inner[0] in "\"'" and inner[-1] == inner[0]:
            yield re.sub(r"\\.", lambda escape: ESCAPES.get(escape[0], escape[0]), inner[1:-1])
        else:
            yield "block", inner
        at = found.end()
    if "{" in text[at:] or "}" in text[at:]:
        raise BadTemplate(f"no expression: {text[at:]!r}")
    yield text[at:]


def _compiled(expression: str) -> str:
    """With its `$`. Raises BadTemplate."""
    from jsonpath_ng.exceptions import JSONPathError
    from jsonpath_ng.ext.parser import parse as compiled

    whole = expression.strip()
    whole = "$" if whole in (".", "@", "$") else whole if whole.startswith("$") else f"${whole.removeprefix('@')}"
    try:
        if not whole.startswith(("$.", "$[")) and whole != "$":
            raise BadTemplate(f"an expression begins with a point or a bracket: {expression!r}")
        compiled(whole)
    except (JSONPathError, Exception) as error:
        raise BadTemplate(f"{expression!r}: {error}") from error
    return whole


def render(pieces: list[Piece], data: Any) -> str:
    """Several values of one expression stand with spaces between them; what is not there is nothing."""
    made = []
    for piece in pieces:
        if isinstance(piece, str):
            made.append(piece)
        elif len(piece) == 3:
            made += [render(piece[2], each) for each in _values(piece[1], data)]
        else:
            made.append(" ".join(_text(value) for value in _values(piece[1], data)))
    return "".join(made)


def _values(expression: str, data: Any) -> list[Any]:
    from jsonpath_ng.ext.parser import parse as compiled

    return [found.value for found in compiled(expression).find(data)]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)
