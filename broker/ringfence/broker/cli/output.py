"""How commands print what they found: `-o table|wide|json|yaml|name|jsonl`, data on stdout and nothing else."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

FORMATS = ("table", "wide", "json", "yaml", "name", "jsonl")
API_VERSION = "ringfence.dev/v1alpha1"

output_option: Callable[[Any], Any] = click.option(
    "-o", "--output", type=click.Choice(FORMATS), default="table", show_default=True, help="How to print."
)


def list_options(command: Any) -> Any:
    """Adds -o, --sort and --no-headers to a command that lists; `show_list` finds the latter two by itself."""
    sort = click.option(
        "--sort", metavar="FIELD", expose_value=False, callback=_note, help="Order by a field of -o json."
    )
    bare = click.option("--no-headers", is_flag=True, expose_value=False, callback=_note, help="Tables without titles.")
    return output_option(sort(bare(command)))


def _note(context: click.Context, parameter: click.Parameter, value: object) -> None:
    context.meta[f"ringfence.{parameter.name}"] = value


def _noted(name: str) -> Any:
    context = click.get_current_context(silent=True)
    return context.meta.get(f"ringfence.{name}") if context else None


def _sorted(rows: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    field = _noted("sort")
    if not field or not rows:
        return rows
    if field not in rows[0]:
        raise click.BadParameter(f"there is no field {field!r}; one of: {', '.join(rows[0])}", param_hint="--sort")
    return sorted(
        rows, key=lambda row: (row[field] is None, row[field] if isinstance(row[field], int) else _text(row[field]))
    )


def show_list(kind: str, rows: Sequence[dict[str, Any]], *, columns: Sequence[str], output: str, name: str) -> None:
    """Print *rows* of one kind: `columns` are those of the table, `name` the field that `-o name` prints."""
    rows = _sorted(rows)
    match output:
        case "json":
            click.echo(json.dumps({"apiVersion": API_VERSION, "kind": f"{kind}List", "items": list(rows)}, indent=2))
        case "jsonl":
            for row in rows:
                click.echo(json.dumps(row))
        case "yaml":
            _yaml({"apiVersion": API_VERSION, "kind": f"{kind}List", "items": list(rows)})
        case "name":
            for row in rows:
                click.echo(row[name])
        case "wide":
            _table(rows, list(rows[0]) if rows else list(columns))
        case _:
            _table(rows, list(columns))


def show_one(kind: str, row: dict[str, Any], *, output: str, name: str) -> None:
    """Print one object: its fields a line each, or the machine-readable form."""
    match output:
        case "json":
            click.echo(json.dumps(row, indent=2))
        case "jsonl":
            click.echo(json.dumps(row))
        case "yaml":
            _yaml({"kind": kind, **row})
        case "name":
            click.echo(row[name])
        case _:
            width = max((len(key) for key in row), default=0)
            for key, value in row.items():
                click.echo(f"{key.ljust(width)}  {_text(value)}")


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_text(v) for v in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}={_text(v)}" for key, v in value.items())
    return "" if value is None else str(value)


def heading(column: str) -> str:
    """What stands over a column: `spiffeId` is `SPIFFE ID`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", column).upper()


def _table(rows: Sequence[dict[str, Any]], columns: list[str]) -> None:
    cells = [[heading(column) for column in columns]]
    cells += [[_text(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells[1:] if _noted("no_headers") else cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _yaml(value: object) -> None:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(value, sys.stdout)
