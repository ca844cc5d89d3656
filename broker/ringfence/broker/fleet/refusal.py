"""What a proxy's NACK says to the operator: the document and line that caused it, then the proxy's own words."""

from __future__ import annotations

from collections.abc import Iterable

from ringfence.broker.fleet.scope import Scope
from ringfence.policy.model import Origin
from ringfence.xds.blame import origin_of
from ringfence.xds.subscription import Nack


def in_words(nack: Nack, scope: Scope | None) -> str:
    """`rules.yaml:12: refused ...`; without a place when nothing in the refusal names a document."""
    kind = nack.type_url.rpartition(".")[2]
    text = f"the proxy refuses {kind} {', '.join(sorted(nack.names))}: {' '.join(nack.detail.split())}"
    origin = _origin(nack, scope)
    return f"{origin}: {text}" if origin is not None else text


def origins(nacks: Iterable[Nack], scope: Scope) -> frozenset[Origin]:
    """Where what *nacks* refuse was written, as far as they name it."""
    found = (_origin(nack, scope) for nack in nacks)
    return frozenset(origin for origin in found if origin is not None)


def _origin(nack: Nack, scope: Scope | None) -> Origin | None:
    if scope is None:
        return None
    # 1. What the proxy itself quotes is the most exact.
    origin = origin_of(scope.model, nack.detail, scope.workload)
    # 2. Else the resources it refused were made from something: only one of them leaves no doubt.
    if origin is None and len(nack.names) == 1:
        origin = origin_of(scope.model, next(iter(nack.names)), scope.workload)
    return origin
