"""What ends the connections that are open when somebody is revoked: a filter chain that is another one from then on.

Envoy judges no open stream and no open TCP connection again. It drains a filter chain that changed, which closes every
connection of it within the drain time; the mark is the only thing that changes where the rules come by ECDS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ringfence.policy.callers import RevokedCaller
from ringfence.xds.snapshot import content_version


def mark(revoked: Mapping[str, RevokedCaller], tainted: frozenset[str]) -> str:
    """What differs with each set of revoked peers and tainted authorities: 16 hex digits, empty for none.

    An authority that is revoked was tainted before, so that its chains change then.
    """
    if not (revoked or tainted):
        return ""
    lines = (f"{name} {one.whole} {one.newest} {sorted(one.serials)}\n" for name, one in sorted(revoked.items()))
    return content_version("".join((*lines, *sorted(tainted))).encode())


def drained_by(revoked: Mapping[str, RevokedCaller], tainted: frozenset[str]) -> dict[str, Any]:
    """The fields of a filter chain that make it another one for each mark; none for none."""
    return _marked(mark(revoked, tainted))


def drained_but_by(rules: bytes, revoked: Mapping[str, RevokedCaller], tainted: frozenset[str]) -> dict[str, Any]:
    """The same where the agent ends the connections of revoked identities, each by itself, and the rules come by ECDS.

    What is left to drain for: another *rules*, without what is revoked, a single certificate, and an authority.
    """
    left = {name: one for name, one in revoked.items() if not one.whole}
    return _marked(content_version(rules + mark(left, tainted).encode()))


def _marked(found: str) -> dict[str, Any]:
    if not found:
        return {}
    return {"metadata": {"filter_metadata": {"ringfence": {"fields": {"revoked": {"string_value": found}}}}}}
