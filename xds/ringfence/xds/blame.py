"""From a proxy's refusal of a configuration back to the document that caused it.

Envoy's text is unstable by design (it says so itself), but it quotes names, and every name that we send is made from
the intent: policy ids `namespace/rule@hash`, and resource names such as `outbound/registry.shared/http`.
"""

from __future__ import annotations

from ringfence.policy.model import Model, Origin, Workload
from ringfence.policy.scope import upstreams_of


def origin_of(model: Model, error_detail: str, workload: Workload | None = None) -> Origin | None:
    """Where what *error_detail* names was written; None when it names nothing of the intent.

    With *workload*, whose proxy refused, names of its own ports lead to its document.
    """
    # 1. A rule is the most exact that can be named.
    for rule in model.rules:
        if rule.policy_id in error_detail:
            return rule.origin
    # 2. An upstream's name leads to who serves it.
    named = _upstream_origins(model, workload) if workload else {}
    found = [name for name in named if name in error_detail]
    if found:
        return named[max(found, key=len)]
    # 3. What is left is about the workload's own ports.
    if workload and any(
        f"inbound/{p.name}" in error_detail or f"app/{p.name}" in error_detail for p in workload.serves
    ):
        return workload.origin
    return None


def _upstream_origins(model: Model, workload: Workload) -> dict[str, Origin]:
    origins = {}
    for upstream in upstreams_of(model, workload):
        owner = model.externals[upstream.key] if upstream.external else model.workloads[upstream.key]
        origins[upstream.name] = owner.origin
    return origins
