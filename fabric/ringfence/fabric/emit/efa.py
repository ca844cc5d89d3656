"""The security group of EFA, as Terraform's JSON: everything from and to itself, and nothing else."""

from __future__ import annotations

import json
from typing import Any

from ringfence.fabric.emit.asked import Asked
from ringfence.policy.fabrics import FabricKind


def security_group(asked: Asked) -> str:
    """Rules of the group that the fabric names, or a new one in a VPC where it names none.

    EFA wants all protocols, in and out, between the members: one direction alone lets no traffic through.
    """
    asked.only(FabricKind.EFA, why="a security group holds at the interfaces of that cloud")
    name = f"fabric-{asked.name}"
    resource: dict[str, Any] = {}
    if asked.fabric.partition is not None:
        group = asked.fabric.partition.group
    else:
        group = f"${{aws_security_group.{name}.id}}"
        resource["aws_security_group"] = {name: _group(asked, name)}
    rule = {"security_group_id": group, "referenced_security_group_id": group, "ip_protocol": "-1"}
    resource["aws_vpc_security_group_ingress_rule"] = {name: rule}
    resource["aws_vpc_security_group_egress_rule"] = {name: rule}
    return f"{json.dumps({'//': asked.comment(), 'resource': resource}, indent=2)}\n"


def _group(asked: Asked, name: str) -> dict[str, Any]:
    vpc = asked.needs("--vpc", asked.facts.vpc)
    return {"name": name, "description": f"Ringfence fabric {asked.fabric.key}", "vpc_id": vpc}
