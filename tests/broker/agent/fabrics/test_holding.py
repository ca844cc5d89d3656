"""What is changed on a node so that it holds what is wanted: as little as can be, and never more than is wanted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_interface

import pytest

from ringfence.broker.agent.fabrics import holding
from ringfence.broker.agent.fabrics.holding import Held, Holding
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.node import Node
from ringfence.fabric.plan import FabricPlan, Members
from ringfence.fabric.plan_links import Links
from tests.fabric.plans import LINKS, NODE, rail

NOW, KEY, JOB = 1000.0, "team-a/fab", "team-a/llama"
ONE, TWO = {"10.91.0.1": 2000}, {"10.91.0.1": 2000, "10.91.0.2": 2000}


@dataclass
class Kernel:
    """What `broker.fabric.apply` would change, kept in memory; fails as often as it is told to."""

    node: Node = NODE
    links: Links = LINKS
    members: dict[str, set[str]] = field(default_factory=dict)  # by job
    story: list[str] = field(default_factory=list)
    fails: set[str] = field(default_factory=set)
    drifted: bool = False
    before: dict[str, str] = field(default_factory=dict)

    def _do(self, what: str) -> None:
        self.story.append(what)
        if what in self.fails:
            raise RingfenceError(Kind.UNAVAILABLE, f"{what} failed")

    def apply(self, plan: FabricPlan, now: float, memory: Mapping[str, str]) -> bool:
        """As the real one: the whole plan."""
        self._do("apply")
        assert now == NOW
        self.before = dict(memory) or {"fab0": "rp_filter=1"}
        self._hold(plan.members)
        return True

    def refilter(self, plan: FabricPlan, now: float, memory: Mapping[str, str]) -> None:
        """As the real one: the filter alone."""
        assert memory == self.before
        self._do("refilter")
        assert now == NOW
        self._hold(plan.members)

    def change_members(self, key: str, before: Iterable[Members], after: Iterable[Members], now: float) -> None:
        """As the real one: what differs."""
        assert key.startswith("team-a/")
        assert now == NOW
        if tuple(before) != tuple(after):
            self._do("members")
            self._hold(after)

    def remove(self, key: str) -> bool:
        """As the real one: all of it."""
        self._do(f"remove {key}")
        self.members = {}
        return True

    def _hold(self, members: Iterable[Members]) -> None:
        self.members = {one.job: set(map(str, one.addresses)) for one in members}


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """In the place of the real one."""
    made = Kernel()
    for name in ("apply", "refilter", "change_members", "remove"):
        monkeypatch.setattr(holding, name, getattr(made, name))
    monkeypatch.setattr(holding, "read_node", lambda _: made.node)
    monkeypatch.setattr(holding, "live_links", lambda: made.links)
    monkeypatch.setattr(holding, "has_drifted", lambda _: made.drifted)
    monkeypatch.setattr(holding, "settings_before", lambda _: made.before)
    return made


def test_at_first_the_whole_plan_and_then_only_members(kernel: Kernel) -> None:
    """One small transaction for each change of members, and nothing for none."""
    held = Holding()
    found = held.settle(rail(), {JOB: ONE}, NOW)
    assert (found.interfaces, found.error) == (("fab0", "fab1"), None)
    assert found.addresses == ("10.91.0.1", "fd91::1", "10.91.0.129")
    assert held.settle(rail(), {JOB: TWO}, NOW).ends(JOB) == TWO
    held.settle(rail(), {JOB: TWO}, NOW)
    assert kernel.story == ["apply", "members"]
    assert kernel.members == {JOB: {"10.91.0.1", "10.91.0.2"}}


def test_another_job_or_other_ports_are_another_filter(kernel: Kernel) -> None:
    """In one transaction; routes and settings are as they are."""
    held = Holding()
    held.settle(rail(), {JOB: ONE}, NOW)
    held.settle(rail(), {JOB: ONE, "team-a/other": {}}, NOW)
    held.settle(rail(ports=()), {JOB: ONE, "team-a/other": {}}, NOW)
    assert kernel.story == ["apply", "refilter", "refilter"]


def test_other_interfaces_or_addresses_are_another_plan(kernel: Kernel) -> None:
    """As soon as they are seen, and not before."""
    held = Holding()
    held.settle(rail(), {JOB: ONE}, NOW)
    kernel.links = replace(LINKS, addresses=(("fab0", ip_interface("10.91.0.7/25")),))
    assert held.settle(rail(), {JOB: ONE}, NOW).addresses == ("10.91.0.1", "fd91::1", "10.91.0.129")
    held.look()
    assert held.settle(rail(), {JOB: ONE}, NOW).addresses == ("10.91.0.7",)
    assert kernel.story == ["apply", "apply"]


def test_what_the_node_has_lost_is_put_back_with_what_only_the_table_knew(kernel: Kernel) -> None:
    """Its interface came back, or somebody flushed the tables."""
    held = Holding()
    held.settle(rail(), {JOB: ONE}, NOW)
    kernel.drifted = True
    held.look()
    held.settle(rail(), {JOB: ONE}, NOW)
    held.settle(rail(), {JOB: ONE}, NOW)
    assert kernel.story == ["apply", "apply"]
    assert kernel.before == {"fab0": "rp_filter=1"}


def test_a_small_change_that_fails_becomes_a_whole_one(kernel: Kernel) -> None:
    """As when the table is gone."""
    held = Holding()
    held.settle(rail(), {JOB: ONE}, NOW)
    kernel.fails = {"members"}
    assert held.settle(rail(), {JOB: TWO}, NOW).error is None
    assert kernel.story == ["apply", "members", "apply"]


def test_what_fails_is_said_and_is_whole_the_next_time(kernel: Kernel) -> None:
    """What is held is told as it was before."""
    held = Holding()
    held.settle(rail(), {JOB: ONE}, NOW)
    kernel.fails = {"members", "apply"}
    found = held.settle(rail(), {JOB: TWO}, NOW)
    assert (str(found.error), found.ends(JOB)) == ("apply failed", ONE)
    kernel.fails = set()
    assert held.settle(rail(), {JOB: TWO}, NOW).error is None
    assert kernel.story == ["apply", "members", "apply", "apply"]


def test_at_first_what_fails_is_held_in_no_part(kernel: Kernel) -> None:
    """There is nothing to say of it but that."""
    kernel.fails = {"apply"}
    found = Holding().settle(rail(), {JOB: ONE}, NOW)
    assert (found.interfaces, found.members, str(found.error)) == ((), (), "apply failed")


def test_without_a_plan_members_still_leave(kernel: Kernel) -> None:
    """An interface of it became the way to the node: nothing else is changed, and nobody comes in."""
    held = Holding()
    held.settle(rail(), {JOB: TWO}, NOW)
    gateway = replace(LINKS.gateways[0], device="fab0")
    kernel.links = replace(LINKS, gateways=(gateway,))
    held.look()
    found = held.settle(rail(), {JOB: {"10.91.0.2": 2000, "10.91.0.3": 2000}}, NOW)
    assert found.error is not None
    assert found.error.kind is Kind.CONFLICT
    assert kernel.members == {JOB: {"10.91.0.2"}}
    assert kernel.story == ["apply", "members"]


def test_with_members_that_cannot_be_nobody_is_one(kernel: Kernel) -> None:
    """An address of another network, or of two tenants, does not keep those in who were."""
    held = Holding()
    held.settle(rail(), {JOB: TWO}, NOW)
    found = held.settle(rail(), {JOB: {"10.99.0.1": 2000}}, NOW)
    assert found.error is not None
    assert kernel.members == {JOB: set()}


def test_a_fabric_that_cannot_be_has_no_member(kernel: Kernel) -> None:
    """The filter stays."""
    held = Holding()
    held.settle(rail(), {JOB: TWO}, NOW)
    wrong = RingfenceError(Kind.INVALID, "cannot be")
    assert held.only_fewer(KEY, NOW, wrong).error is wrong
    assert kernel.members == {JOB: set()}
    assert held.only_fewer("team-a/never-held", NOW, wrong).members == ()


def test_a_node_without_an_interface_of_it_holds_nothing_and_that_is_no_failure(kernel: Kernel) -> None:
    """Once one was there its filter stays, without those who are out; there are no addresses to claim."""
    kernel.links, kernel.node = Links(), Node()
    held = Holding()
    found = held.settle(rail(), {JOB: ONE}, NOW)
    assert (found.interfaces, found.error, kernel.story) == ((), None, [])
    kernel.links, kernel.node = LINKS, NODE
    held.look()
    held.settle(rail(), {JOB: TWO}, NOW)
    kernel.links, kernel.node = Links(), Node()
    held.look()
    found = held.settle(rail(), {JOB: ONE}, NOW)
    assert (found.interfaces, found.addresses, found.error) == ((), (), None)
    assert kernel.members == {JOB: {"10.91.0.1"}}
    assert kernel.story == ["apply", "members"]


def test_of_a_fabric_of_another_zone_there_is_nothing(kernel: Kernel) -> None:
    """Its filter was there while the interface had no address: it goes, once, and comes when the address is its own."""
    east, west = rail(name="east", cidrs=("10.1.0.0/16",)), rail(name="west", cidrs=("10.2.0.0/16",))
    held = Holding()
    kernel.links = Links()
    for one in (east, west):
        assert held.settle(one, {}, NOW, (east, west)).interfaces == ("fab0", "fab1")
    kernel.links = Links((("fab0", ip_interface("10.1.0.1/24")), ("fab1", ip_interface("10.1.1.1/24"))))
    held.look()
    for _ in range(2):
        assert held.settle(east, {}, NOW, (east, west)).addresses == ("10.1.0.1", "10.1.1.1")
        assert held.settle(west, {}, NOW, (east, west)) == Held()
    assert kernel.story == ["apply", "apply", "apply", "remove team-a/west"]
    kernel.links = Links((("fab0", ip_interface("10.2.0.1/24")), ("fab1", ip_interface("10.2.1.1/24"))))
    held.look()
    for _ in range(2):
        assert held.settle(east, {}, NOW, (east, west)) == Held()
        assert held.settle(west, {}, NOW, (east, west)).addresses == ("10.2.0.1", "10.2.1.1")
    assert kernel.story[4:] == ["remove team-a/east", "apply"]


def test_removed_it_is_forgotten(kernel: Kernel) -> None:
    """Another time it is a whole plan again."""
    held = Holding()
    held.settle(rail(), {JOB: ONE}, NOW)
    held.remove(KEY)
    held.settle(rail(), {JOB: ONE}, NOW)
    assert kernel.story == ["apply", f"remove {KEY}", "apply"]
