"""Rate limits at the port's own proxy: what becomes of each, where it stands, and what is left as it was."""

from __future__ import annotations

from typing import Any

import pytest

from ringfence.xds import codec, types
from tests.xds.intent import INTENT, REGISTRY, TRAINER, snapshot_of
from tests.xds.test_routing import read

TRAFFIC = """---
kind: Traffic
metadata: {name: registry, namespace: shared}
spec:
  to: {workload: registry, port: http}
  rateLimits: [LIMITS]
"""
BOTH = "{requests: 10, per: 5s, by: caller}, {requests: 2, per: 1h, burst: 7}, {requests: 100, per: 1s, by: all}"
WHERE, CALLER, ALL = "inbound/http", "inbound/http/limits/caller", "inbound/http/limits/all"


def text_with(limits: str) -> str:
    """The intent with these limits of the registry's port."""
    return INTENT + TRAFFIC.replace("LIMITS", limits)


def inside(packed: Any) -> Any:
    """The message in an Any."""
    return codec.unpack(packed.SerializeToString())


def filters_of(text: str) -> list[str]:
    """The HTTP filters of the registry's port, in order."""
    listener = read(snapshot_of("shared/registry", REGISTRY, text), types.LISTENER, WHERE)
    (manager,) = (one for one in listener.filter_chains[0].filters if one.name.endswith("http_connection_manager"))
    return [one.name for one in inside(manager.typed_config).http_filters]


def test_limits_count_behind_the_rules_and_those_of_callers_first():
    """Who is refused uses up nothing, and who exceeds his own limit takes nothing from the others."""
    assert filters_of(text_with(BOTH))[-5:] == [
        f"{WHERE}/deny",
        f"{WHERE}/allow",
        CALLER,
        ALL,
        "envoy.filters.http.router",
    ]


def test_each_limit_is_a_bucket_and_those_of_callers_one_for_each():
    """An entry without a value stands for every identity; the identity is that of the certificate."""
    snapshot = snapshot_of("shared/registry", REGISTRY, text_with(BOTH))
    caller, everybody = (inside(read(snapshot, types.EXTENSION_CONFIG, name).typed_config) for name in (CALLER, ALL))
    assert [(d.entries[0].value, d.token_bucket.max_tokens) for d in caller.descriptors] == [("", 10), ("", 7)]
    assert caller.descriptors[0].token_bucket.fill_interval.seconds == 5
    asked = inside(caller.rate_limits[0].actions[0].extension.typed_config)
    assert asked.text == "connection.uri_san_peer_certificate"
    assert caller.max_dynamic_descriptors.value == 10_000
    assert caller.response_headers_to_add[0].header.value == "1800"
    assert [(d.entries[0].value, d.token_bucket.max_tokens) for d in everybody.descriptors] == [("all", 100)]
    assert everybody.response_headers_to_add[0].header.value == "1"


def test_another_number_changes_the_filter_alone():
    """So that no connection is drained for it; and without limits not a byte differs."""
    one, other = (snapshot_of("shared/registry", REGISTRY, text_with(f"{{requests: {n}, per: 1s}}")) for n in (5, 6))
    assert one.named(types.LISTENER)[WHERE] == other.named(types.LISTENER)[WHERE]
    assert one.named(types.EXTENSION_CONFIG)[CALLER] != other.named(types.EXTENSION_CONFIG)[CALLER]
    timed = INTENT + TRAFFIC.replace("rateLimits: [LIMITS]", "timeout: 5s")
    without = snapshot_of("shared/registry", REGISTRY, INTENT)
    assert snapshot_of("shared/registry", REGISTRY, timed).resources == without.resources


@pytest.mark.parametrize("name", [CALLER, ALL])
def test_a_caller_holds_nothing_of_it(name: str):
    """It is no business of those who are counted."""
    assert name not in snapshot_of("team-a/trainer", TRAINER, text_with(BOTH)).named(types.EXTENSION_CONFIG)
