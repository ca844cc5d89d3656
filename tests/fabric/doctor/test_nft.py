"""Rulesets of nftables: what takes the fabric's TCP, and what lets it pass first."""

from __future__ import annotations

import json

import pytest

from ringfence.fabric.doctor.bounded import network
from ringfence.fabric.doctor.nft import captures
from tests.fabric.doctor.rulesets import REDIRECT, RETURN, UID, field, iface, jump, proto, ruleset

FABRIC = tuple(one for one in [network("10.91.0.0/24")] if one)


def test_a_redirect_of_everything_takes_the_fabric():
    """The mistake of a sidecar: where, by what and to which port."""
    (found,) = captures(ruleset([proto("tcp"), REDIRECT]), "fab0", FABRIC)
    assert (found.where, found.verb, found.port) == ("ip nat base handle 1", "redirect", 15001)


@pytest.mark.parametrize(
    "first",
    [
        [iface("fab0"), RETURN],
        [iface("fab*"), {"accept": None}],
        [iface("@fabric"), RETURN],
        [iface({"set": ["eth9", "fab0"]}), RETURN],
        [iface("lo", op="!="), RETURN],
    ],
)
def test_a_rule_before_it_lets_the_fabric_pass(first: list[object]):
    """By name, by prefix, by set, by what is not lo."""
    assert captures(ruleset(first, [proto("tcp"), REDIRECT]), "fab0", FABRIC) == ()


@pytest.mark.parametrize(
    "first",
    [
        [iface("fab1"), RETURN],
        [UID, RETURN],
        [iface("fab0"), UID, RETURN],
        [iface("fab0"), {"counter": {}}],
        [iface("fab0", key="iifname"), RETURN],
        [field("daddr", "127.0.0.1"), RETURN],
    ],
)
def test_a_rule_for_something_else_does_not(first: list[object]):
    """Another interface, the proxy's own user, a counter, the way in, the machine itself."""
    assert len(captures(ruleset(first, [proto("tcp"), REDIRECT]), "fab0", FABRIC)) == 1


def test_after_the_redirect_it_is_too_late():
    """Order decides."""
    assert captures(ruleset([proto("tcp"), REDIRECT], [iface("fab0"), RETURN]), "fab0", FABRIC)


@pytest.mark.parametrize(
    "rule",
    [
        [proto("udp"), REDIRECT],
        [iface("fab0", op="!="), REDIRECT],
        [iface("lo"), REDIRECT],
        [field("dport", 80), REDIRECT],
        [field("dport", {"set": [80, 443]}), REDIRECT],
        [field("daddr", "10.96.0.10"), {"dnat": {"addr": "10.90.0.9", "port": 53}}],
        [field("daddr", {"prefix": {"addr": "10.96.0.0", "len": 12}}), REDIRECT],
    ],
)
def test_what_takes_other_traffic_is_no_capture(rule: list[object]):
    """Another protocol, another interface, a web port, the services of a cluster."""
    assert captures(ruleset(rule), "fab0", FABRIC) == ()


def test_jumps_are_followed():
    """As Istio writes them; a return inside ends that chain alone, a chain that jumps to itself ends."""
    others = {"OUT": [[iface("fab0"), RETURN], [REDIRECT]], "TAKE": [[REDIRECT]], "LOOP": [[jump("LOOP")]]}
    assert captures(ruleset([jump("OUT")], others=others), "fab0") == ()
    assert len(captures(ruleset([jump("OUT")], [jump("TAKE")], others=others), "fab0")) == 1
    assert len(captures(ruleset([field("daddr", "127.0.0.1", "!="), jump("TAKE")], others=others), "fab0")) == 1
    assert captures(ruleset([jump("LOOP")], others=others), "fab0") == ()
    assert captures(ruleset([jump("OUT", "goto")], [REDIRECT], others=others), "fab0") == ()


def test_the_way_in_has_its_own_hook():
    """The hook prerouting asks for the interface that a packet enters by."""
    assert captures(ruleset([iface("fab0", key="iifname"), RETURN], [REDIRECT], hook="prerouting"), "fab0") == ()
    assert captures(ruleset([{"tproxy": {"port": 15006}}], hook="prerouting"), "fab0")[0].verb == "tproxy"


def test_a_target_of_iptables_is_known():
    """What it cannot say, nft shows as xt."""
    assert captures(ruleset([{"xt": {"type": "target", "name": "REDIRECT"}}]), "fab0")[0].verb == "redirect"


def test_a_ruleset_that_is_none():
    """Nothing, and no error."""
    for text in ("", "[]", '{"nftables": 3}', json.dumps({"nftables": [{"rule": {"expr": 5}}, {"chain": None}, 7]})):
        assert captures(text, "fab0") == ()
