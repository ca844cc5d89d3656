"""Time to serialise the RBAC matcher tree of 1,000 principals, beside what the schema's own library takes for it."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable
from time import perf_counter
from typing import Any

from perf.figure import figure
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.policy.callers import Source
from ringfence.policy.model import Destination, Effect, HttpMatch, Mode, Origin, Rule
from ringfence.policy.paths import PathPattern
from ringfence.xds import codec, matcher
from ringfence.xds.rbac import HTTP_RBAC

NAME = "encode_rbac_1000"
GOAL = 300
RUNS = 15
PRINCIPALS = 1000
CALLS = 20  # of ours a run; the limit is called once


def _rule(number: int, trust_domain: TrustDomain) -> Rule:
    return Rule(
        namespace="team-a",
        name=f"pull-{number}",
        effect=Effect.ALLOW,
        mode=Mode.ENFORCE,
        sources=(Source(SpiffeId(trust_domain, f"/ns/team-a/sa/trainer-{number}"), None),),
        destinations=(Destination("shared/registry", "http"),),
        http=(HttpMatch(frozenset({"GET", "HEAD"}), (PathPattern(f"/models/team-a/{number}/**"),)),),
        owner="ml-platform",
        reason="base model",
        expires=None,
        hash=f"{number:012x}",
        origin=Origin("intent.yaml", number),
    )


def _tree() -> Any:
    trust_domain = TrustDomain("example.org")
    rules = [_rule(number, trust_domain) for number in range(PRINCIPALS)]
    end = matcher.act("default-deny@builtin", allow=False)
    return codec.build(
        HTTP_RBAC, matcher=matcher.as_matcher(matcher.by_peer(rules, trust_domain, matcher.on_requests, end))
    )


def _limit(data: bytes) -> Callable[[], bytes]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own deprecations
        from envoy_data_plane.envoy.extensions.filters.http.rbac.v3 import Rbac  # noqa: PLC0415  # costs 250 ms

    read = Rbac.parse(data)
    return lambda: bytes(read)


def _seconds(call: Callable[[], object], times: int) -> float:
    started = perf_counter()
    for _ in range(times):
        call()
    return (perf_counter() - started) / times


def measure() -> dict[str, Any]:
    """The figure `encode_rbac_1000`."""
    tree = _tree()
    data = codec.encode(tree)
    limit = _limit(data)
    assert limit() == data, "both must write the same bytes"
    pairs = [(_seconds(lambda: codec.encode(tree), CALLS) * 1e3, _seconds(limit, 1) * 1e3) for _ in range(RUNS)]
    value, bound = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(theirs / mine for mine, theirs in pairs)
    return figure(
        NAME,
        f"serialise the RBAC matcher tree of {PRINCIPALS} principals ({len(data) // 1024} KiB), keys sorted; "
        "ratio: the limit over ours",
        value,
        unit="ms",
        runs=[mine for mine, _ in pairs],
        limit=("bytes() of the same betterproto message, equal bytes", bound),
        ratio=ratio,
        goal=f">= {GOAL}x faster",
        met=ratio >= GOAL,
    )
