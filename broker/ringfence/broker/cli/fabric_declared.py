"""What the doctor is told a fabric is: by options, by a `Fabric` document, or by both, of which options win."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from ringfence.broker.cli.fabric_intent import fabric_of, model_of
from ringfence.broker.fabric.sysfs import read_node
from ringfence.fabric.doctor.bounded import network
from ringfence.fabric.doctor.evidence import RENDEZVOUS_PORTS, Declared
from ringfence.fabric.node import Node
from ringfence.policy.fabrics import Fabric, InterfaceForm

_SYS = Path("/sys")


def declared_by(given: dict[str, Any]) -> Declared:
    """Of the options of `fabric doctor`; raises UsageError for one that is wrong, NOT_FOUND for no such fabric."""
    if given["fabric"] and given["folder"] is None:
        raise click.UsageError("--fabric is one of the documents that --dir names")
    document = _document(given["folder"], given["fabric"], given["trust_domain"]) if given["folder"] else None
    cidrs = given["cidrs"] or (document.cidrs if document else ())
    return Declared(
        given["interfaces"] or (_names(document, read_node(_SYS)) if document else ()),
        given["control"],
        tuple(_network(text) for text in cidrs),
        given["mtu"] or (document.mtu if document else 0),
        RENDEZVOUS_PORTS | set(given["ports"]),
        given["tenants"],
    )


def _document(folder: Path, name: str, trust_domain: str | None) -> Fabric:
    return fabric_of(model_of(folder, trust_domain, datetime.now(UTC)), name)


def _names(fabric: Fabric, node: Node) -> tuple[str, ...]:
    """Those that it names, though they be another node's, and what it has on this one by prefix, address or device."""
    named = [one.text for one in fabric.interfaces if one.form is InterfaceForm.NAME]
    for wanted in fabric.interfaces:
        named += [one.name for one in node.interfaces if wanted.takes(one.name, one.pci)]
        named += [name for port in node.rdma if wanted.takes(port.device, port.pci) for name in port.interfaces]
    return tuple(dict.fromkeys(named))


def _network(text: str) -> Any:
    found = network(text)
    if found is None:
        raise click.BadParameter(f"{text!r} is no network, such as 10.91.0.0/24", param_hint="--cidr")
    return found
