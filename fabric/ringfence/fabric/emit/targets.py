"""The targets by name, and what holds for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.emit import dra, efa, gke, nad, network_policy, opensm, slurm, slurm_prolog, sriov, ufm
from ringfence.fabric.emit.asked import Asked
from ringfence.policy.fabrics import Fabric

TARGETS: Mapping[str, Callable[[Asked], str]] = MappingProxyType(
    {
        "opensm": opensm.partitions_conf,
        "ufm": ufm.payloads,
        "sriov": sriov.networks,
        "nad": nad.definitions,
        "multi-network-policy": network_policy.policies,
        "dra": dra.claims,
        "gke": gke.networks,
        "efa": efa.security_group,
        "slurm": slurm.switch,
        "slurm-prolog": slurm_prolog.script,
    }
)


def emit(asked: Asked) -> str:
    """What the target is told of the fabric.

    Raises INVALID for what does not fit the target or lacks a fact, CONFLICT where two fabrics would get one name.
    """
    own = _names(asked.fabric)
    for other in asked.model.fabrics.values():
        if other.key != asked.fabric.key and own & _names(other):
            what = f"fabrics {asked.fabric.key} and {other.key} have the same name where a name has no namespace"
            raise RingfenceError(Kind.CONFLICT, what, where=str(asked.fabric.origin), hint="Rename one of them")
    return TARGETS[asked.target](asked)


def _names(fabric: Fabric) -> set[str]:
    plain = f"{fabric.namespace}-{fabric.name}"
    return {plain, *(f"{plain}-{tenant}" for tenant in fabric.tenants)}
