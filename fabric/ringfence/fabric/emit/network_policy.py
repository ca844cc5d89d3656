"""MultiNetworkPolicy (k8s.cni.cncf.io): nobody reaches a pod by the fabric, but members of its own job.

It is a packet filter in the pod's network namespace: it sees sockets, and not the queue pairs of verbs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from ringfence.fabric.emit.asked import Asked
from ringfence.fabric.emit.objects import Item, attachment, rendered
from ringfence.policy.fabrics import FabricGrant, FabricKind, PortSpan

_POLICY_FOR = "k8s.v1.cni.cncf.io/policy-for"
_NAMESPACE = "kubernetes.io/metadata.name"  # that the API server writes, and nobody else may
_BOTH = ("Ingress", "Egress")

# Namespace to the names of its members; None: every workload of it.
Members = Mapping[str, frozenset[str] | None]


def policies(asked: Asked) -> str:
    """What denies everything to every tenant, then for each job in force what its members may among themselves."""
    asked.only(FabricKind.TCP, FabricKind.ROCE, why="it filters Ethernet interfaces that a CNI plug-in put into a pod")
    asked.needs("--workload-label", asked.facts.label)
    denied = [_policy(asked, tenant, "deny", asked.comment(), {"podSelector": {}}) for tenant in asked.tenants()]
    # A rule without ports is for all ports: where sockets may use none there is no rule.
    allowed = [item for job in _jobs(asked) for item in _allowed(asked, job)] if asked.fabric.ports else []
    return rendered([*denied, *allowed])


def _jobs(asked: Asked) -> list[list[FabricGrant]]:
    """Grants by job: two of one job are one set of members."""
    found: dict[str, list[FabricGrant]] = {}
    for grant in asked.grants:
        found.setdefault(grant.job_key, []).append(grant)
    return [found[key] for key in sorted(found)]


def _allowed(asked: Asked, grants: Sequence[FabricGrant]) -> list[Item]:
    held = members(asked, grants)
    peers = [_peer(asked, namespace, held[namespace]) for namespace in sorted(held)]
    ports = [_port(span) for span in asked.fabric.ports]
    until = min(grant.expires for grant in grants)
    comment = f"{asked.comment(*grants)}, job {grants[0].job_key}; emit again by {until.isoformat()}"
    suffix = sha256(grants[0].job_key.encode()).hexdigest()[:12]  # `a-b/c` and `a/b-c` are two jobs
    return [
        _policy(
            asked,
            namespace,
            f"job-{suffix}",
            comment,
            {
                "podSelector": _pods(asked, held[namespace]),
                "ingress": [{"from": peers, "ports": ports}],
                "egress": [{"to": peers, "ports": ports}],
            },
        )
        for namespace in sorted(held)
    ]


def members(asked: Asked, grants: Sequence[FabricGrant]) -> Members:
    """Who is in the job of *grants*, and of a tenant: a source that is neither is left out."""
    found: dict[str, frozenset[str] | None] = {}
    for source in (source for grant in grants for source in grant.sources):
        workload = asked.model.workload_of(source.identity) if source.identity is not None else None
        namespace = workload.namespace if workload is not None else source.namespace
        if namespace is None or namespace not in asked.fabric.tenants or (source.identity and workload is None):
            continue
        held = found.get(namespace, frozenset())
        found[namespace] = None if held is None or workload is None else held | {workload.name}
    return found


def _peer(asked: Asked, namespace: str, names: frozenset[str] | None) -> dict[str, Any]:
    # Both in one entry: in two they would be one or the other.
    return {"namespaceSelector": {"matchLabels": {_NAMESPACE: namespace}}, "podSelector": _pods(asked, names)}


def _pods(asked: Asked, names: frozenset[str] | None) -> dict[str, Any]:
    if names is None:
        return {}
    return {"matchExpressions": [{"key": asked.facts.label, "operator": "In", "values": sorted(names)}]}


def _port(span: PortSpan) -> dict[str, Any]:
    ranged = {"endPort": span.last} if span.last != span.first else {}
    return {"protocol": "TCP", "port": span.first, **ranged}


def _policy(asked: Asked, tenant: str, suffix: str, comment: str, spec: dict[str, Any]) -> Item:
    # Of all tenants: an attachment that is not listed is of no peer, and a pod may have another namespace's.
    networks = ",".join(f"{one}/{attachment(asked, one)}" for one in asked.fabric.tenants)
    ranged = any(span.last != span.first for span in asked.fabric.ports)
    body = {
        "apiVersion": f"k8s.cni.cncf.io/{'v1beta2' if ranged else 'v1beta1'}",  # endPort came with the second
        "kind": "MultiNetworkPolicy",
        "metadata": {
            "name": f"{attachment(asked, tenant)}-{suffix}",
            "namespace": tenant,
            "annotations": {_POLICY_FOR: networks},
        },
        "spec": {"policyTypes": list(_BOTH), **spec},
    }
    return Item(comment, body)
