"""The kernel's settings for a fabric's interfaces, and those of before."""

from __future__ import annotations

from ringfence.fabric.plan_sysctl import recalled, remembered, sysctl_text
from tests.fabric.plans import planned


def test_each_interface_answers_and_sends_for_itself_alone() -> None:
    """As slashes, since a VLAN's name has a dot."""
    assert sysctl_text(planned()).splitlines()[:4] == [
        "sysctl -w net/ipv4/conf/fab0/arp_ignore=1",
        "sysctl -w net/ipv4/conf/fab0/arp_announce=2",
        "sysctl -w net/ipv4/conf/fab0/rp_filter=2",
        "sysctl -w net/ipv4/conf/fab1/arp_ignore=1",
    ]


def test_what_was_before_is_remembered_and_nothing_else_is_believed() -> None:
    """A comment that somebody else wrote sets no other setting."""
    comment = remembered({"arp_ignore": "0", "arp_announce": "1", "rp_filter": "2", "forwarding": "1"})
    assert comment == "arp_ignore=0 arp_announce=1 rp_filter=2"
    assert recalled([("fab0", "arp_ignore=0 forwarding=1 ../x=1"), ("fab1", "")]) == {
        "net/ipv4/conf/fab0/arp_ignore": "0"
    }
