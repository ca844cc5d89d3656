"""What the libraries of a command are told of the fabrics that its run has joined, as the agent tells of these."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ringfence.broker.fabric.sysfs import read_node
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.compare import settled
from ringfence.fabric.environment import Environment, compile_environment
from ringfence.fabric.node import Node, NodeInterface
from ringfence.policy.fabrics import (
    Enforcer,
    Fabric,
    FabricKind,
    Interface,
    InterfaceForm,
    Partition,
    PartitionKind,
    Plane,
    PortSpan,
)
from ringfence.policy.model import Origin

_SYS = Path("/sys")


def environments(joined: Iterable[Any], *, magic: str, bootstrap: str) -> list[Environment]:
    """One a JoinFabricResponse, as `ringfence fabric env` makes it here; raises as `compile_environment`."""
    node = read_node(_SYS)
    return [
        compile_environment(_told(one.fabric), _seen(node, one.interfaces), magic=magic, bootstrap=bootstrap)
        for one in joined
    ]


def unbounded(joined: Iterable[Any], given: str) -> Iterator[str]:
    """Where ranks will listen on ports that a fabric does not let through, in words.

    *given* is what the kernel gives ports from, as net.ipv4.ip_local_port_range has it: NCCL and Gloo take them there.
    """
    first, last = map(int, given.split())
    for one in joined:
        spans = [_span(text) for text in one.fabric.ports]
        if spans and not any(span.first <= first and last <= span.last for span in spans):
            widest = max(spans, key=lambda span: span.last - span.first)
            yield (
                f"ranks listen on what the kernel gives, {first}-{last}, and fabric {one.fabric.namespace}/"
                f"{one.fabric.name} lets {', '.join(map(str, spans))} through: "
                f"sysctl net.ipv4.ip_local_port_range='{widest.first} {widest.last}'"
            )


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


def _told(said: Any) -> Fabric:
    """By this node's own agent, which has held it against what a document may say; raises INVALID.

    Done without the document's own checks, whose library takes longer to load than all else here.
    """
    try:
        return Fabric(
            namespace=said.namespace,
            name=said.name,
            kind=FabricKind(said.kind),
            plane=Plane(said.plane),
            interfaces=tuple(map(_interface, said.interfaces)),
            cidrs=tuple(said.cidrs),
            mtu=said.mtu,
            partition=_partition(said),
            ports=tuple(map(_span, said.ports)),
            tenants=tuple(said.tenants),
            enforced_by=Enforcer(said.enforced_by),
            origin=Origin(said.path, said.line),
        )
    except ValueError as error:
        what = f"the agent tells of a fabric {said.namespace}/{said.name} that cannot be: {error}"
        raise RingfenceError(Kind.INVALID, what, hint="Run an agent of the same version") from None


def _partition(said: Any) -> Partition | None:
    if not said.partition_kind:
        return None
    return Partition(PartitionKind(said.partition_kind), said.partition_number, said.partition_group)


def _interface(text: str) -> Interface:
    if text.endswith("*"):
        return Interface(InterfaceForm.PREFIX, text[:-1])
    return Interface(InterfaceForm.PCI if ":" in text else InterfaceForm.NAME, text)


def _span(text: str) -> PortSpan:
    first, _, last = text.partition("-")
    return PortSpan(int(first), int(last or first))


def _seen(node: Node, interfaces: Iterable[str]) -> Node:
    """With what the agent sees of the fabric: it may be in a network namespace that this process is not in."""
    known = {one.name for one in node.interfaces}
    more = tuple(NodeInterface(name) for name in interfaces if name not in known)
    return replace(node, interfaces=node.interfaces + more)
