"""FabricGrant documents as values of the model: every name resolved, every leave within its fabric."""

from __future__ import annotations

from collections.abc import Mapping

from ringfence.policy.fabric_document import FabricGrantDocument
from ringfence.policy.fabrics import Fabric, FabricGrant, Plane
from ringfence.policy.findings import Findings, did_you_mean
from ringfence.policy.meaning import spelled_source
from ringfence.policy.parse import Parsed
from ringfence.policy.references import Names, References
from ringfence.policy.rule_document import SourceRef


def grant_of(
    document: FabricGrantDocument, parsed: Parsed, names: Names, fabrics: Mapping[str, Fabric], findings: Findings
) -> FabricGrant | None:
    """The leave that *document* means; None, and noted, when no document declares the fabric."""
    spec, metadata = document.spec, document.metadata
    fabric = _fabric(document, parsed, names, fabrics, findings)
    if fabric is None:
        return None
    resolving = References(parsed, names, findings)
    refs = [SourceRef(workload=ref.workload, namespace=ref.namespace) for ref in spec.identities]
    found = {s for i, ref in enumerate(refs) if (s := resolving.source(("spec", "identities", i), ref)) is not None}
    _check_tenants(document, parsed, fabric, findings)
    return FabricGrant(
        namespace=metadata.namespace,
        name=metadata.name,
        fabric=fabric.key,
        sources=tuple(sorted(found, key=lambda source: spelled_source(source, names.mesh.trust_domain))),
        job=spec.job,
        owner=spec.owner,
        reason=spec.reason,
        expires=spec.expires,
        origin=parsed.origin,
    )


def _fabric(
    document: FabricGrantDocument, parsed: Parsed, names: Names, fabrics: Mapping[str, Fabric], findings: Findings
) -> Fabric | None:
    ref, place = document.spec.fabric, parsed.node.at("spec", "fabric", "name")
    key = f"{ref.namespace or parsed.namespace}/{ref.name}"
    fabric = fabrics.get(key)
    if fabric is None:
        if not names.excuses(key):
            findings.add("RF1202", place, f"no document declares the fabric {key!r}", did_you_mean(key, fabrics))
    elif fabric.plane is not Plane.FABRIC:
        findings.add("RF1217", place, f"{key} is of the plane {fabric.plane.value}")
    return fabric


def _check_tenants(document: FabricGrantDocument, parsed: Parsed, fabric: Fabric, findings: Findings) -> None:
    """Whom the fabric is not for, no grant can let in."""
    for index, ref in enumerate(document.spec.identities):
        namespace = ref.namespace or parsed.namespace
        if namespace not in fabric.tenants:
            who = f"{namespace}/{ref.workload}" if ref.workload is not None else f"namespace {namespace!r}"
            tenants = ", ".join(fabric.tenants) or "nobody"
            place = parsed.node.at("spec", "identities", index)
            findings.add("RF1216", place, f"{who} is no tenant of {fabric.key}, which is for {tenants}")
