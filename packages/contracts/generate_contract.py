"""Write what is made from the contract's models: docs/asyncapi.yaml, docs/schemas, and the reference in docs/events.md.

--check writes nothing and fails if a file is not current. --release makes today's schemas the baseline that later ones must
stay compatible with: do it when a release is made, and never to get a failing test past a change.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml
from reprise.contracts import asyncapi, changes, schemas
from reprise.contracts.events import ALL, VERSION, Event
from reprise.contracts.model import CriuStats, RestoreStats, Target, Workload

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RELEASED = Path(__file__).parent / "released" / VERSION
NOUNS = (Workload, Target, CriuStats, RestoreStats)
MODELS = {name: schema for event in ALL for name, schema in schemas.parts(event)[1].items()}
BEGIN, END = "<!-- made by `make contract`: begin -->\n", "<!-- made by `make contract`: end -->\n"


class Readable(yaml.SafeDumper):
    """Writes what occurs twice twice, not as an anchor, and paragraphs as paragraphs."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


Readable.add_representer(str, _text)


def files() -> dict[Path, str]:
    """Every generated file with its text."""
    found = {DOCS / "schemas" / VERSION / f"{name}.json": _json(schema) for name, schema in event_schemas().items()}
    found[DOCS / "asyncapi.yaml"] = yaml.dump(
        asyncapi.document(), Dumper=Readable, sort_keys=False, width=120, allow_unicode=True
    )
    page = DOCS / "events.md"
    before, _, rest = page.read_text().partition(BEGIN)
    found[page] = before + BEGIN + reference() + END + rest.partition(END)[2]
    return found


def event_schemas() -> dict[str, schemas.Schema]:
    return {event.TYPE: schemas.event_schema(event) for event in ALL}


def released() -> dict[str, schemas.Schema]:
    return {file.stem: json.loads(file.read_text()) for file in sorted(RELEASED.glob("*.json"))}


def reference() -> str:
    """The table of events, and the fields of each."""
    lines = ["| event | says |", "|---|---|"]
    lines += [f"| [`{event.TYPE}`](#{event.TYPE.replace('.', '')}) | {_lower(schemas.says(event))} |" for event in ALL]
    lines += ["", "## Fields", "", "Every event has, in `data`:", ""]
    lines += _fields(ALL[0].__name__, list(Event.model_fields))
    for noun in NOUNS:
        lines += ["", f"### {noun.__name__}", "", schemas.says(noun), "", *_fields(noun.__name__, list(noun.model_fields))]
    for event in ALL:
        where = f"`{schemas.address(event)}`, [JSON Schema](schemas/{VERSION}/{event.TYPE}.json)"
        lines += ["", f"### {event.TYPE}", "", where, "", *_fields(event.__name__, list(schemas.own_fields(event)))]
    return "\n".join(lines) + "\n"


def _fields(model: str, names: list[str]) -> list[str]:
    schema = MODELS[model]
    lines = ["| field | is | |", "|---|---|---|"]
    for name in names:
        field = schema["properties"][name]
        optional = name not in schema.get("required", []) and "default" in field
        default = f", else `{_word(field['default'])}`" if optional else ""
        lines.append(f"| `{name}` | {_kind(field)}{default} | {_says(field)} |")
    return lines


def _kind(schema: schemas.Schema) -> str:
    """In a word or two."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    values = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    return ", ".join(f"`{value}`" for value in values) or str(schema.get("format", schema["type"]))


def _says(schema: schemas.Schema) -> str:
    return " ".join(str(schema.get("description", "")).split())


def _word(value: Any) -> str:
    return json.dumps(value) if not isinstance(value, str) or not value else value


def _lower(text: str) -> str:
    return text[0].lower() + text[1:].rstrip(".")


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _write(wanted: dict[Path, str]) -> None:
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for old in _stray(wanted):
        old.unlink()


def _stray(wanted: dict[Path, str]) -> list[Path]:
    """Files of events that there are no more."""
    folders = {path.parent for path in wanted if path.suffix == ".json"}
    return [path for folder in folders for path in folder.glob("*.json") if path not in wanted]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--check", action="store_true")
    options.add_argument("--release", action="store_true")
    chosen = options.parse_args()
    wanted = files()
    if chosen.release:
        wanted |= {RELEASED / f"{name}.json": _json(schema) for name, schema in event_schemas().items()}
    if not chosen.check:
        _write(wanted)
    stale = [p for p, text in wanted.items() if not p.exists() or p.read_text() != text] + _stray(wanted)
    broken = changes.breaking(released(), event_schemas())
    for path in stale:
        print(f"{path.relative_to(ROOT)} is not current: run `make contract`", file=sys.stderr)
    for line in broken:
        print(f"breaking within {VERSION}: {line}", file=sys.stderr)
    return 1 if stale or broken else 0


if __name__ == "__main__":
    sys.exit(main())
