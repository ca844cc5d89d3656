"""YAML text as trees of plain values in which every value knows its line and column.

Only what intent needs of YAML is taken: mappings, sequences and scalars of the 1.2 core schema, within bounds.
Anchors, aliases, tags and merge keys are refused, so no text can mean more than it shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLStreamError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
)
from ruamel.yaml.reader import ReaderError

from ringfence.policy.findings import Findings
from ringfence.policy.model import Origin

MAX_BYTES = 1 << 20  # of one file
MAX_DEPTH = 32
MAX_VALUES = 100_000  # in one file

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")  # longer ones stay text: they are digests, not numbers
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass(slots=True)
class Node:
    """One value: a scalar in `scalar`, or the entries of a mapping or sequence in `entries`."""

    origin: Origin
    scalar: str | int | bool | None = None
    entries: dict[str, Node] | list[Node] | None = None
    keys: dict[str, Origin] = field(default_factory=dict)

    def plain(self) -> Any:
        """The value without its places: dicts, lists and scalars."""
        if isinstance(self.entries, dict):
            return {key: node.plain() for key, node in self.entries.items()}
        if isinstance(self.entries, list):
            return [node.plain() for node in self.entries]
        return self.scalar

    @property
    def is_empty(self) -> bool:
        """Whether it is a null, written or left out."""
        return self.entries is None and self.scalar is None

    def walk(self) -> Iterator[Node]:
        """The value itself and every value below it."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += node.entries.values() if isinstance(node.entries, dict) else node.entries or ()

    def child(self, step: str | int) -> Node | None:
        """The value under a key or index."""
        if isinstance(self.entries, dict) and isinstance(step, str):
            return self.entries.get(step)
        if isinstance(self.entries, list) and isinstance(step, int) and 0 <= step < len(self.entries):
            return self.entries[step]
        return None

    def items(self, step: str) -> Iterator[tuple[int, Node]]:
        """The values of the sequence under a key, numbered; nothing where there is none."""
        found = self.child(step)
        yield from enumerate(found.entries if found is not None and isinstance(found.entries, list) else ())

    def at(self, *steps: str | int) -> Origin:
        """The place of the value at the end of *steps*, or of the nearest value around it that exists."""
        node = self
        for step in steps:
            node = node.child(step) or node
        return node.origin

    def key_at(self, *steps: str | int) -> Origin:
        """The place of the key that ends *steps*, or of the nearest value around it that exists."""
        node = self
        for step in steps[:-1]:
            node = node.child(step) or node
        return node.keys.get(str(steps[-1]), node.origin)


class _Refused(Exception):  # noqa: N818 - leaves the loop over events, nothing else
    """The file was refused and noted; nothing after this place can be read."""


def read_trees(path: str, text: str | bytes, findings: Findings) -> tuple[Node, ...]:
    """The documents of one file, empty ones left out; notes what is wrong and gives what stood before it."""
    trees: list[Node] = []
    try:
        decoded = _decode(path, text, findings)
        for tree in _Builder(path, findings).documents(decoded):
            trees.append(tree)  # noqa: PERF402 - those before a failure are kept
    except _Refused:
        pass
    except (MarkedYAMLError, YAMLStreamError) as error:
        findings.add("RF1001", _place(path, error), _problem(error))
    except Exception as error:  # noqa: BLE001 - ruamel.yaml fails in many ways on hostile text; none may pass as read
        findings.add("RF1001", Origin(path, 1), f"the text cannot be read ({type(error).__name__})")
    return tuple(trees)


def _decode(path: str, text: str | bytes, findings: Findings) -> str:
    size = len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        findings.add("RF1003", Origin(path, 1), f"the file has {size} bytes, at most {MAX_BYTES} are read")
        raise _Refused
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    try:
        return text.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        findings.add("RF1002", Origin(path, line), f"byte {error.start} is not UTF-8")
        raise _Refused from None


class _Builder:
    """Builds trees from the parser's events without recursion, so that depth is ours to bound."""

    def __init__(self, path: str, findings: Findings) -> None:
        self._path = path
        self._findings = findings
        self._values = 0

    def documents(self, text: str) -> Iterator[Node]:
        stack: list[Node] = []
        pending: list[tuple[str, Origin] | None] = []  # the key that waits for its value, one for each open mapping
        for event in YAML(typ="safe", pure=True).parse(text):
            if isinstance(event, DocumentStartEvent):
                stack, pending = [], []
            elif isinstance(event, MappingEndEvent | SequenceEndEvent):
                done = stack.pop()
                pending.pop()
                if not stack:
                    yield done
            elif isinstance(event, NodeEvent):
                node = self._node(event, len(stack))
                if stack:
                    self._attach(stack[-1], pending, node, event)
                elif isinstance(event, ScalarEvent) and node.scalar is not None:
                    self._refuse("RF1006", node.origin, "a document is a mapping")
                if not isinstance(event, ScalarEvent):
                    stack.append(node)
                    pending.append(None)

    def _node(self, event: NodeEvent, depth: int) -> Node:
        origin = Origin(self._path, event.start_mark.line + 1, event.start_mark.column + 1)
        self._values += 1
        if isinstance(event, AliasEvent) or event.anchor is not None or getattr(event, "tag", None) is not None:
            self._refuse("RF1004", origin, "anchors, aliases and tags are not part of intent")
        if depth >= MAX_DEPTH or self._values > MAX_VALUES:
            self._refuse("RF1003", origin, f"at most {MAX_DEPTH} levels and {MAX_VALUES} values are read")
        if isinstance(event, ScalarEvent):
            return Node(origin, scalar=_scalar(event.value, plain=event.implicit[0]))
        return Node(origin, entries={} if isinstance(event, MappingStartEvent) else [])

    def _attach(self, parent: Node, pending: list[tuple[str, Origin] | None], node: Node, event: NodeEvent) -> None:
        if isinstance(parent.entries, list):
            parent.entries.append(node)
            return
        waiting = pending[-1]
        if waiting is None:
            pending[-1] = self._key(node, event)
            return
        pending[-1] = None
        key, origin = waiting
        if key in parent.keys:
            first = parent.keys[key].line
            self._findings.add("RF1005", origin, f"{key!r} appears twice, first in line {first}")
            return
        parent.keys[key] = origin
        if node.is_empty:
            node.origin = origin  # the parser places what is not there at the next token, lines away
        if isinstance(parent.entries, dict):
            parent.entries[key] = node

    def _key(self, node: Node, event: NodeEvent) -> tuple[str, Origin]:
        if not isinstance(event, ScalarEvent):
            self._refuse("RF1006", node.origin, "a key is a plain word")
        word = str(event.value)
        if word == "<<":
            self._refuse("RF1004", node.origin, "merge keys are not part of intent")
        return word, node.origin

    def _refuse(self, code: str, origin: Origin, message: str) -> NoReturn:
        self._findings.add(code, origin, message)
        raise _Refused


def _scalar(text: str, *, plain: bool) -> str | int | bool | None:
    if not plain:
        return text
    if text in _WORDS:
        return _WORDS[text]
    return int(text) if _INTEGER.fullmatch(text) else text


def _place(path: str, error: Exception) -> Origin:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is not None:
        return Origin(path, mark.line + 1, mark.column + 1)
    return Origin(path, 1)


def _problem(error: Exception) -> str:
    if isinstance(error, ReaderError):
        return f"character {error.position} cannot stand in YAML"
    parts: Sequence[str | None] = (getattr(error, "context", None), getattr(error, "problem", None))
    return ", ".join(part for part in parts if part) or "the text is not YAML"
