"""Lists in JSON, JSON lines and YAML, each item with the line that it begins in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ringfence.certs.errors import Kind, RingfenceError

_SPACE = frozenset(" \t\r\n,")


@dataclass(frozen=True, slots=True)
class Item:
    """A value of a file; `lines` has those of a mapping's keys, where the format tells them."""

    value: Any
    line: int
    lines: dict[str, int]

    def line_of(self, key: str) -> int:
        """The line of that key's value, or of the whole item."""
        return self.lines.get(key, self.line)


def read_items(text: str, path: str, *, within: Sequence[str]) -> list[Item]:
    """The items of a list, of lines of JSON objects, or of an object that has a list under one of *within*.

    Raises INVALID with path and line for what is neither.
    """
    if text.lstrip()[:1] in {"[", "{"}:
        return list(_json_items(text, path, within))
    return list(_yaml_items(text, path, within))


def _json_items(text: str, path: str, within: Sequence[str]) -> Iterator[Item]:
    decoder = json.JSONDecoder(object_pairs_hook=_unique)
    wrapped = re.compile(rf'"(?:{"|".join(within)})"\s*:\s*(?=\[)')
    position, line, counted = 0, 1, 0
    while (position := _skip(text, position)) < len(text):
        line, counted = line + text.count("\n", counted, position), position
        value, end = _decoded(decoder, text, position, path)
        inner = next((value[key] for key in within if isinstance(value, dict) and key in value), value)
        if inner is value and not isinstance(value, list):
            yield Item(value, line, {})
        elif isinstance(inner, list):
            found = wrapped.search(text, position) if inner is not value else None
            yield from _elements(decoder, text, (found.end() if found else position, line, counted), path, len(inner))
        else:
            raise _refused(f"{path}:{line}", "the entries are no list")
        position = end


def _elements(decoder: json.JSONDecoder, text: str, at: tuple[int, int, int], path: str, number: int) -> Iterator[Item]:
    """The *number* items of the list that begins at position, line and position counted up to."""
    position, line, counted = at
    position += 1
    for _ in range(number):
        position = _skip(text, position)
        line, counted = line + text.count("\n", counted, position), position
        value, position = _decoded(decoder, text, position, path)
        yield Item(value, line, {})


def _decoded(decoder: json.JSONDecoder, text: str, position: int, path: str) -> tuple[Any, int]:
    try:
        return decoder.raw_decode(text, position)
    except json.JSONDecodeError as error:
        raise _refused(f"{path}:{error.lineno}", f"the text is not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise _refused(f"{path}:{text.count(chr(10), 0, position) + 1}", f"the text is refused: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return found


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in _SPACE:
        position += 1
    return position


def _yaml_items(text: str, path: str, within: Sequence[str]) -> Iterator[Item]:
    from ringfence.policy.findings import Findings
    from ringfence.policy.tree import read_trees

    findings = Findings()
    trees = read_trees(path, text, findings)
    for finding in findings.in_order():
        raise _refused(finding.where, f"{finding.code} {finding.message}", finding.hint)
    for tree in trees:
        inner = next((found for key in within if (found := tree.child(key)) is not None), tree)
        for node in inner.entries if isinstance(inner.entries, list) else [inner]:
            keys = node.entries if isinstance(node.entries, dict) else {}
            lines = {key: child.origin.line for key, child in keys.items()}
            yield Item(node.plain(), node.origin.line, lines)


def _refused(where: str, detail: str, hint: str = "Give a list of entries in YAML or JSON") -> RingfenceError:
    return RingfenceError(Kind.INVALID, detail, where=where, hint=hint)
