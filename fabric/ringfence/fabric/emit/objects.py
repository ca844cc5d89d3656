"""Kubernetes objects as YAML, with the place in the intent before each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ringfence.fabric.emit.asked import Asked

_PLAIN_KEY = re.compile(r"[A-Za-z][A-Za-z0-9./_-]*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})  # not strings to YAML 1.1


@dataclass(frozen=True, slots=True)
class Item:
    """One object, and what is said of it in a comment."""

    comment: str
    body: Mapping[str, Any]


def rendered(items: Iterable[Item]) -> str:
    """A stream of documents. Strings are in quotes: to YAML 1.1, which Kubernetes reads, a bare `on` is a boolean."""
    return "".join("\n".join(["---", f"# {item.comment}", *_lines(item.body), ""]) for item in items)


def _lines(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [line for key, inner in value.items() for line in _field(key, inner)]
    found = []
    for inner in value:
        first, *rest = _lines(inner) if _nested(inner) else [json.dumps(inner)]
        found += [f"- {first}", *(f"  {line}" for line in rest)]
    return found


def _field(key: str, value: Any) -> list[str]:
    name = key if _PLAIN_KEY.fullmatch(key) and key.lower() not in _WORDS else json.dumps(key)
    if not _nested(value):
        return [f"{name}: {json.dumps(value)}"]
    return [f"{name}:", *(f"  {line}" for line in _lines(value))]


def _nested(value: Any) -> bool:
    return isinstance(value, Mapping | list | tuple) and bool(value)


def attachment(asked: Asked, tenant: str) -> str:
    """The name of a tenant's attachment to the fabric; each has its own, and none in its namespace is another's."""
    return f"{asked.name}-{tenant}"


def ipam(asked: Asked) -> dict[str, Any]:
    """How pods get their addresses: what --ipam says, else whereabouts in the fabric's one network, else not at all.

    host-local is no default: each node would hand out the same addresses. Raises INVALID for what is no JSON object
    with a type, and for a fabric of several networks.
    """
    if asked.facts.ipam:
        return _given(asked)
    if not asked.fabric.cidrs:
        return {}
    if len(asked.fabric.cidrs) > 1:
        raise asked.refused("has several networks, and a pod gets its address in one", "Say which with --ipam")
    return {"type": "whereabouts", "range": asked.fabric.cidrs[0]}


def _given(asked: Asked) -> dict[str, Any]:
    try:
        found = json.loads(asked.facts.ipam)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("type"), str):
        raise asked.refused("was given an --ipam that is no JSON object with a type", "Write it as the CNI takes it")
    return found
