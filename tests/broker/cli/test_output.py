"""How lists are printed: data only, in every format, empty ones too."""

from __future__ import annotations

import json

import click
import pytest
from click.testing import CliRunner, Result
from ruamel.yaml import YAML

from ringfence.broker.cli.output import FORMATS, list_options, show_list

ROWS = [{"id": "b", "spiffeId": "s2", "x509Ttl": 10, "tags": ["x", "y"]}, {"id": "a", "spiffeId": "s1", "x509Ttl": 9}]


def shown(rows: list[dict[str, object]], *arguments: str) -> Result:
    """What a command that lists *rows* prints."""

    @click.command()
    @list_options
    def command(output: str) -> None:
        show_list("Thing", rows, columns=["id", "spiffeId"], output=output, name="id")

    return CliRunner().invoke(command, arguments)


def test_each_format_shows_the_same_rows() -> None:
    """A versioned list in JSON and YAML, a row a line in JSON lines, names alone, columns, all columns."""
    listed = {"apiVersion": "ringfence.dev/v1alpha1", "kind": "ThingList", "items": ROWS}
    assert json.loads(shown(ROWS, "-o", "json").output) == listed
    assert YAML(typ="safe").load(shown(ROWS, "-o", "yaml").output) == listed
    assert [json.loads(line) for line in shown(ROWS, "-o", "jsonl").output.splitlines()] == ROWS
    assert shown(ROWS, "-o", "name").output == "b\na\n"
    assert shown(ROWS).output == "ID  SPIFFE ID\nb   s2\na   s1\n"
    assert shown(ROWS, "-o", "wide").output.splitlines()[:2] == [
        "ID  SPIFFE ID  X509 TTL  TAGS",
        "b   s2         10        x, y",
    ]


@pytest.mark.parametrize("output", FORMATS)
def test_nothing_is_an_answer_too(output: str) -> None:
    """Exit code 0 and `[]` in JSON, never a sentence where a script reads data."""
    result = shown([], "-o", output)
    assert result.exit_code == 0
    if output == "json":
        assert json.loads(result.output)["items"] == []
    assert result.output == "" or output in {"json", "yaml", "table", "wide"}


def test_rows_are_sorted_by_a_field_numbers_as_numbers() -> None:
    """9 before 10; a field that is not there is bad usage, with those that are."""
    assert shown(ROWS, "--sort", "x509Ttl", "-o", "name").output == "a\nb\n"
    wrong = shown(ROWS, "--sort", "size")
    assert wrong.exit_code == 2
    assert "spiffeId" in wrong.output


def test_titles_can_be_left_out() -> None:
    """For `while read`."""
    assert shown(ROWS, "--no-headers").output == "b   s2\na   s1\n"
