"""Routes and rules of a fabric, and what makes a node have them."""

from __future__ import annotations

import json
from dataclasses import replace

from ringfence.fabric.plan import plan_node
from ringfence.fabric.plan_routes import Entry, batch, changes, listed, tables, wanted
from tests.fabric.plans import LINKS, NODE, planned, rail

FIRST, SECOND = tables("team-a/fab")[:2]
FOUR = f"""\
route add 10.91.0.0/25 dev fab0 src 10.91.0.1 table {FIRST} protocol 82
route add 10.91.8.0/24 via 10.91.0.126 dev fab0 table {FIRST} protocol 82
route add unreachable default metric 4294967295 table {FIRST} protocol 82
route add 10.91.0.128/25 dev fab1 src 10.91.0.129 table {SECOND} protocol 82
route add unreachable default metric 4294967295 table {SECOND} protocol 82
rule add fwmark {FIRST:#x} lookup {FIRST} priority 5199 protocol 82
rule add fwmark {SECOND:#x} lookup {SECOND} priority 5199 protocol 82
rule add from 10.91.0.1 lookup {FIRST} priority 5200 protocol 82
rule add from 10.91.0.129 lookup {SECOND} priority 5200 protocol 82
"""
SIX = f"""\
route add fd91::/64 dev fab0 src fd91::1 table {FIRST} protocol 82
route add fe80::/64 dev fab0 table {FIRST} protocol 82
route add unreachable default metric 4294967295 table {FIRST} protocol 82
rule add fwmark {FIRST:#x} lookup {FIRST} priority 5199 protocol 82
rule add from fd91::1 lookup {FIRST} priority 5200 protocol 82
"""
RULES = [
    {"priority": 0, "src": "all", "table": "255"},
    {"priority": 5200, "src": "10.91.0.1", "table": str(FIRST), "protocol": "82"},
    {"priority": 5199, "src": "all", "fwmark": hex(FIRST), "table": str(FIRST), "protocol": "82"},
    {"priority": 5199, "src": "all", "fwmark": "0x1", "fwmask": "0xff", "table": "254", "protocol": "82"},
    {"priority": 9, "src": "10.91.0.7", "table": str(FIRST), "protocol": "3"},
]
ROUTES = [
    {"type": "7", "dst": "default", "table": str(FIRST), "protocol": "82", "metric": 4294967295, "flags": []},
    {"dst": "10.91.0.0/25", "dev": "fab0", "table": str(FIRST), "protocol": "82", "prefsrc": "10.91.0.1"},
    {"dst": "10.91.0.0/25", "dev": "fab0", "protocol": "2", "prefsrc": "10.91.0.1"},
]


def test_each_interface_has_a_table_that_leads_by_it_and_nowhere_else() -> None:
    """Golden, of both families; a rule comes after the routes that it leads to."""
    entries = wanted(planned())
    assert (batch(entries, 4), batch(entries, 6)) == (FOUR, SIX)


def test_an_interface_that_is_down_leads_nowhere() -> None:
    """The kernel takes no route by it, and members of the others are not to wait for it."""
    found = batch(wanted(plan_node(rail(), NODE, replace(LINKS, down=frozenset({"fab1"})), {})), 4)
    assert found == FOUR.replace(f"route add 10.91.0.128/25 dev fab1 src 10.91.0.129 table {SECOND} protocol 82\n", "")


def test_a_fabric_has_its_tables_by_its_name() -> None:
    """The same at every time, within what a table's number may be, and others than another fabric's."""
    assert tables("team-a/fab") == tables("team-a/fab")
    assert 0x52000000 <= tables("team-a/fab").start < tables("team-a/fab").stop <= 0x53000000
    assert not set(tables("team-a/fab")) & set(tables("team-a/fab2"))


def test_only_what_is_ours_is_found_on_a_node() -> None:
    """By table and by who made it: an operator's rule into the same table is theirs."""
    found = listed("team-a/fab", 4, json.dumps(RULES), json.dumps(ROUTES))
    assert set(found) < set(wanted(planned()))
    assert len(found) == 4
    assert listed("team-a/other", 4, json.dumps(RULES), json.dumps(ROUTES)) == ()
    assert listed("team-a/fab", 4, "", "") == ()


def test_a_mark_with_a_mask_is_none_of_ours() -> None:
    """It takes other packets too, so that it is to go."""
    masked = json.dumps([{**RULES[2], "fwmask": "0xffff"}])
    (found,) = listed("team-a/fab", 4, masked, "")
    assert found not in wanted(planned())
    assert changes((), (found,), 4).startswith(f"rule del fwmark {FIRST:#x}/0xffff lookup {FIRST} ")


def test_what_is_there_already_stays() -> None:
    """Only the difference is done; what goes, goes before what comes, and rules before their routes."""
    want = wanted(planned())
    assert changes(want, want, 4) == ""
    assert changes(want, (), 6) == SIX
    old = (Entry(4, "route", "10.91.0.0/25 dev x table 1"), Entry(4, "rule", "from 10.91.0.7 lookup 1"))
    said = changes(want, (*old, *want[1:]), 4).splitlines()
    assert said == [
        "rule del from 10.91.0.7 lookup 1",
        "route del 10.91.0.0/25 dev x table 1",
        f"route add 10.91.0.0/25 dev fab0 src 10.91.0.1 table {FIRST} protocol 82",
    ]
