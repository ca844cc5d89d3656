"""What ip(8) prints, read."""

from __future__ import annotations

import json
from contextlib import suppress
from ipaddress import ip_interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.plan_links import Gateway, Links, read_links

ADDRESSES = """[{"ifname":"fab0","addr_info":[
 {"family":"inet","local":"10.91.0.1","prefixlen":24,"scope":"global"},
 {"family":"inet6","local":"fe80::1","prefixlen":64,"scope":"link"}]},{"ifname":"eth0","flags":["BROADCAST","UP"]},{"ifname":"fab1","flags":["BROADCAST"]}]"""
ROUTES = '[{"dst":"default","gateway":"10.90.0.254","dev":"eth0","flags":[]},{"type":"7","dst":"10.9.0.0/16"}]'


def test_addresses_and_gateways_are_read() -> None:
    """Link-local addresses are no fabric's, a route without a device leads nowhere, and one by what is down neither."""
    assert read_links(ADDRESSES, (ROUTES, "")) == Links(
        (("fab0", ip_interface("10.91.0.1/24")),), (Gateway("default", "10.90.0.254", "eth0"),), frozenset({"fab1"})
    )


@pytest.mark.parametrize("text", ["{", "{}", "[1]", '[{"addr_info":[1]}]', '[{"addr_info":[{"local":"x"}]}]'])
def test_what_ip_does_not_print_is_refused(text: str) -> None:
    """With the command that prints it."""
    with pytest.raises(RingfenceError, match="ip -j addr") as caught:
        read_links(text)
    assert caught.value.kind is Kind.INVALID


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(("ifname", "flags", "addr_info", "local", "prefixlen", "dst", "dev")), inner)
    ),
    max_leaves=12,
)


@given(JSON, JSON)
def test_any_json_is_read_or_refused(addresses: object, routes: object) -> None:
    """And nothing else is raised."""
    with suppress(RingfenceError):
        read_links(json.dumps(addresses), (json.dumps(routes),))
