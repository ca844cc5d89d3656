"""The rate limits of a port, enforced at its own proxy: how many of the requests that rules let in go on.

They stand behind the rules, so that what is refused costs nobody's budget, and a stranger can use up none. A caller's
own limits stand in front of those for all, so that who exceeds his own takes nothing from the others either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import ceil
from typing import Any

from ringfence.policy.traffic import RateLimit, Traffic
from ringfence.xds import codec
from ringfence.xds.snapshot import Resource
from ringfence.xds.sources import by_ads
from ringfence.xds.types import EXTENSION_CONFIG, type_url

Fields = dict[str, Any]

LOCAL_RATE_LIMIT = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
_EXPRESSION = "envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor"
# The URI SAN of the caller's certificate, of which the guard has seen exactly one: nothing that a request says.
_CALLER = "connection.uri_san_peer_certificate"
_BUCKETS = 10_000  # callers that a limit tells apart at once; the one not heard of for longest begins anew
_ALWAYS = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}


def in_plaintext(traffic: Traffic | None) -> Traffic | None:
    """The same limits for callers without an identity: to each limit they are one caller all together."""
    if traffic is None:
        return None
    return replace(traffic, rate_limits=tuple(replace(limit, by_caller=False) for limit in traffic.rate_limits))


def places(where: str, traffic: Traffic | None) -> list[Fields]:
    """The filters' places in a listener. No default: nothing is served before they are there."""
    discovery = {"config_source": by_ads(), "type_urls": [type_url(LOCAL_RATE_LIMIT)]}
    return [{"name": name, "config_discovery": discovery} for name, _ in _filters(where, traffic)]


def policies(where: str, traffic: Traffic | None) -> Iterator[tuple[str, Resource]]:
    """The filters as extension configs, by ECDS: another limit takes effect at once and drains nothing."""
    for name, limits in _filters(where, traffic):
        config = codec.build(
            "envoy.config.core.v3.TypedExtensionConfig", name=name, typed_config=codec.pack(_filter(name, limits))
        )
        yield codec.resource(name, config)


def needs(where: str, traffic: Traffic | None) -> list[tuple[str, str]]:
    """What a listener with these places refers to."""
    return [(EXTENSION_CONFIG, name) for name, _ in _filters(where, traffic)]


def _filters(where: str, traffic: Traffic | None) -> Iterator[tuple[str, list[RateLimit]]]:
    for kind, by_caller in (("caller", True), ("all", False)):
        limits = [limit for limit in (traffic.rate_limits if traffic else ()) if limit.by_caller is by_caller]
        if limits:
            yield f"{where}/limits/{kind}", limits


def _filter(name: str, limits: list[RateLimit]) -> Any:
    """Each limit has a key of its own, and every request must find a token in the buckets of all of them."""
    return codec.build(
        LOCAL_RATE_LIMIT,
        stat_prefix=name,
        filter_enabled=_ALWAYS,
        filter_enforced=_ALWAYS,
        enable_x_ratelimit_headers="DRAFT_VERSION_03",
        rate_limited_as_resource_exhausted=True,  # gRPC's own code for it (gRPC status codes, 8)
        response_headers_to_add=[{"header": {"key": "retry-after", "value": str(_retry_after(limits))}}],
        max_dynamic_descriptors={"value": _BUCKETS},
        always_consume_default_token_bucket={"value": False},
        rate_limits=[{"actions": [_action(str(i), limit)]} for i, limit in enumerate(limits)],
        descriptors=[_bucket(str(i), limit) for i, limit in enumerate(limits)],
    )


def _action(key: str, limit: RateLimit) -> Fields:
    if not limit.by_caller:
        return {"generic_key": {"descriptor_key": key, "descriptor_value": "all"}}
    caller = codec.extension("ringfence.caller", _EXPRESSION, descriptor_key=key, text=_CALLER)
    return {"extension": caller}


def _bucket(key: str, limit: RateLimit) -> Fields:
    """An entry without a value stands for any: Envoy makes a bucket for each that it meets."""
    entry = {"key": key} if limit.by_caller else {"key": key, "value": "all"}
    tokens = {
        "max_tokens": limit.burst,
        "tokens_per_fill": {"value": limit.requests},
        "fill_interval": limit.per,
    }
    return {"entries": [entry], "token_bucket": tokens}


def _retry_after(limits: Iterable[RateLimit]) -> int:
    """Whole seconds (RFC 9110 section 10.2.3) until the slowest bucket has a token again: they fill evenly."""
    return max(ceil(limit.per.total_seconds() / limit.requests) for limit in limits)
