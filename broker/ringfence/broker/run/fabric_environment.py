"""What the libraries of a command are told of the fabrics that its run has joined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ringfence.broker.fabric.message import fabric_of
from ringfence.broker.fabric.sysfs import read_node
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.compare import settled
from ringfence.fabric.environment import Environment, compile_environment
from ringfence.fabric.node import Node, NodeInterface

_SYS = Path("/sys")


def environments(joined: Iterable[Any], *, magic: str, bootstrap: str) -> list[Environment]:
    """One a JoinFabricResponse, as `ringfence fabric env` makes it here; raises as `compile_environment`."""
    node = read_node(_SYS)
    return [
        compile_environment(fabric_of(one.fabric), _seen(node, one.interfaces), magic=magic, bootstrap=bootstrap)
        for one in joined
    ]


def with_fabrics(inherited: Mapping[str, str], made: Iterable[Environment]) -> dict[str, str]:
    """*inherited* with all of them; raises CONFLICT where two fabrics say different things by one variable."""
    said: dict[str, tuple[str, str]] = {}
    found = dict(inherited)
    for one in made:
        for name, value in one.variables.items():
            other, before = said.setdefault(name, (one.fabric, value))
            if before != value:
                detail = f"fabric {other} takes {name}={before}, and fabric {one.fabric} takes {value}"
                raise RingfenceError(Kind.CONFLICT, detail, hint="Join one of them, or make one fabric of both")
        found = settled(found, one)
    return found


def _seen(node: Node, interfaces: Iterable[str]) -> Node:
    """With what the agent sees of the fabric: it may be in a network namespace that this process is not in."""
    known = {one.name for one in node.interfaces}
    more = tuple(NodeInterface(name) for name in interfaces if name not in known)
    return replace(node, interfaces=node.interfaces + more)
