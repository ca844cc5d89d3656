"""Rulesets of nftables as `nft -j list ruleset` prints them, put together rule by rule."""

from __future__ import annotations

import json
from typing import Any


def iface(name: Any, op: str = "==", key: str = "oifname") -> dict[str, Any]:
    """A match on the interface."""
    return {"match": {"op": op, "left": {"meta": {"key": key}}, "right": name}}


def proto(name: str) -> dict[str, Any]:
    """A match on the protocol above IP."""
    return {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": name}}


def field(name: str, value: Any, op: str = "==") -> dict[str, Any]:
    """A match on a field of the packet."""
    return {"match": {"op": op, "left": {"payload": {"protocol": "ip", "field": name}}, "right": value}}


REDIRECT = {"redirect": {"port": 15001}}
RETURN = {"return": None}
UID = {"match": {"op": "==", "left": {"meta": {"key": "skuid"}}, "right": 1337}}


def jump(chain: str, verb: str = "jump") -> dict[str, Any]:
    """A verdict that goes on in another chain."""
    return {verb: {"target": chain}}


def ruleset(*rules: list[Any], hook: str = "output", others: dict[str, list[list[Any]]] | None = None) -> str:
    """One base chain with *rules*, and *others* that it may jump to."""
    chains = {"base": list(rules), **(others or {})}
    told: list[dict[str, Any]] = [{"metainfo": {"json_schema_version": 1}}]
    for name, listed in chains.items():
        chain: dict[str, Any] = {"family": "ip", "table": "nat", "name": name}
        told.append({"chain": {**chain, "type": "nat", "hook": hook, "prio": -100} if name == "base" else chain})
        told.extend(
            {"rule": {"family": "ip", "table": "nat", "chain": name, "handle": handle, "expr": expr}}
            for handle, expr in enumerate(listed, 1)
        )
    told.append({"set": {"family": "ip", "table": "nat", "name": "fabric", "elem": ["fab0", "fab1"]}})
    return json.dumps({"nftables": told})
