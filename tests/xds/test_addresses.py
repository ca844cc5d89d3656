"""Where exact hosts outside may not lead: what the judge behind the choice of an address is told."""

from __future__ import annotations

from typing import Any

import pytest

from ringfence.policy.externals import External
from ringfence.policy.model import Origin
from ringfence.xds import codec
from ringfence.xds.addresses import forbidden_to, forbidden_to_stars, upstream_filters


def external(host: str, address: str = "") -> External:
    """One of that name."""
    return External("shared", "hub", host, address, (), "", Origin("x.yaml", 1))


def denied(filters: list[dict[str, Any]]) -> set[str]:
    """The networks that the judge denies."""
    judge = codec.unpack(codec.encode(filters[0]["typed_config"]))
    (policy,) = judge.rules.policies.values()
    asked = [codec.unpack(codec.encode(each.matcher.typed_config)).upstream_ip for each in policy.permissions]
    return {f"{one.address_prefix}/{one.prefix_len.value}" for one in asked}


@pytest.mark.parametrize("host", ["hub.example", "hub.localhost"])
def test_a_name_leads_neither_here_nor_to_metadata_in_any_spelling(host: str):
    """The kernel takes ::ffff:127.0.0.1 for 127.0.0.1, and a translator 64:ff9b::a9fe:a9fe for 169.254.169.254."""
    found = denied(upstream_filters(forbidden_to(external(host))))
    assert {"127.0.0.0/8", "169.254.0.0/16", "::ffff:0:0/96", "64:ff9b::a9fe:0/112", "64:ff9b::7f00:0/104"} <= found


@pytest.mark.parametrize("place", [external("localhost"), external("hub.example", "localhost:8080")])
def test_this_host_by_its_own_name_is_what_an_operator_wrote(place: External):
    """Metadata services are denied all the same."""
    found = denied(upstream_filters(forbidden_to(place)))
    assert "127.0.0.0/8" not in found
    assert "169.254.0.0/16" in found


def test_stars_lead_into_private_networks_where_that_is_asked_for_alone():
    """Into this host, and to metadata services, never."""
    public, private = (set(map(str, forbidden_to_stars(private=asked))) for asked in (False, True))
    assert public - private >= {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"}
    assert private >= {"127.0.0.0/8", "169.254.0.0/16", "::ffff:0:0/96", "fd00:ec2::/32"}
