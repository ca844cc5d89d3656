"""The registry: entitlement, and deltas that always add up to the whole."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ringfence.broker.bell import Bell
from ringfence.broker.entry import SERVER_PATH, Entry, any_node, selectors_of
from ringfence.broker.registry import Delta, Registry
from ringfence.broker.store.changes import Change, ChangeKind
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.policy.entries import LaunchRule

TD = TrustDomain("example.org")
ONE, TWO = (SpiffeId(TD, f"/ringfence/agent/join_token/{name}") for name in ("one", "two"))
PARENTS = (any_node(TD), ONE, TWO)


def entry(number: int, parent: SpiffeId = PARENTS[0]) -> Entry:
    """Entry number *number*."""
    return Entry(str(number), SpiffeId(TD, f"/ns/a/sa/{number}"), parent, selectors_of(["unix:uid:1"]))


def registry(*entries: Entry, revision: int = 0) -> Registry:
    """Loaded with *entries*."""
    made = Registry(Bell())
    made.load(entries, revision)
    return made


def ids(delta: Delta) -> list[str]:
    """Ids of what a delta brings."""
    return [e.id for e in delta.upserts]


def test_an_agent_is_entitled_to_its_own_entries_and_to_those_of_every_node() -> None:
    """And to nobody else's."""
    held = registry(entry(1), entry(2, ONE), entry(3, TWO))
    assert {e.id for e in held.entitled(ONE)} == {"1", "2"}
    assert held.entitled_to(ONE, "2") is not None
    assert held.entitled_to(ONE, "3") is None
    assert held.entitled_to(ONE, "unknown") is None


def test_what_was_touched_since_a_revision_is_known_as_long_as_an_agent_could_go_on_from_it() -> None:
    """What is gone too, and nothing of launch rules; from before the load, or from the future, anything may be."""
    held = registry(entry(1), revision=5)
    held.follow(
        [Change(6, ChangeKind.ENTRY, "2"), Change(7, ChangeKind.INTENT, ""), Change(8, ChangeKind.REMOVED, "1")],
        {"2": entry(2)},
    )
    assert held.touched(5) == {"1", "2"}
    assert held.touched(6) == {"1"}
    assert held.touched(8) == frozenset()
    assert held.touched(4) is None
    assert held.touched(9) is None


ALIAS = SpiffeId(TD, "/nodes/gpu")
FACTS = selectors_of(["x509pop:subject:cn:gpu-7", f"x509pop:ca:fingerprint:{'a' * 64}"])


def alias(*selectors: str) -> Entry:
    """A node alias."""
    return Entry("alias", ALIAS, SpiffeId(TD, SERVER_PATH), selectors_of(selectors))


def with_facts(held: Registry) -> Registry:
    """Node ONE has `FACTS`, node TWO none."""
    held.facts_of = lambda agent: frozenset(FACTS if agent == ONE else ())
    return held


def test_a_node_with_all_selectors_of_an_alias_is_entitled_to_its_entries() -> None:
    """And a node that lacks one, or of which nothing is known, is not; the alias itself is for nobody."""
    held = with_facts(registry(alias("x509pop:subject:cn:gpu-7"), entry(1, ALIAS)))
    assert [e.id for e in held.entitled(ONE)] == ["1"]
    assert held.entitled_to(ONE, "1") is not None
    assert held.entitled_to(TWO, "1") is None
    assert held.entitled_to(ONE, "alias") is None
    other = with_facts(registry(alias("x509pop:subject:cn:gpu-7", "x509pop:subject:cn:b"), entry(1, ALIAS)))
    assert not list(other.entitled(ONE))
    assert not list(with_facts(registry(entry(1, ALIAS))).entitled(ONE))


def test_a_change_of_an_alias_brings_everything_anew() -> None:
    """It may give or take any number of entries that did not change themselves."""
    held = with_facts(registry(entry(1, ALIAS), revision=1))
    made = alias("x509pop:subject:cn:gpu-7")
    held.follow([Change(2, ChangeKind.ENTRY, "alias")], {"alias": made})
    assert held.delta(ONE, 1) == Delta(2, True, (entry(1, ALIAS),), (), ())
    held.follow([Change(3, ChangeKind.ENTRY, "alias")], {"alias": alias("x509pop:subject:cn:gpu-8")})
    assert held.delta(ONE, 2) == Delta(3, True, (), (), ())
    held.follow([Change(4, ChangeKind.ENTRY, "alias")], {})
    assert held.delta(ONE, 3) == Delta(4, True, (), (), ())
    assert held.entitled_to(ONE, "1") is None


def test_an_entry_of_an_alias_is_pushed_by_itself() -> None:
    """Once the alias stands, its entries come and go as others do."""
    held = with_facts(registry(alias("x509pop:subject:cn:gpu-7"), revision=1))
    held.follow([Change(2, ChangeKind.ENTRY, "1")], {"1": entry(1, ALIAS)})
    assert (held.delta(ONE, 1).full, ids(held.delta(ONE, 1)), ids(held.delta(TWO, 1))) == (False, ["1"], [])


def test_who_knows_nothing_gets_everything() -> None:
    """Revision 0 asks for a full update, even of an empty registry."""
    assert registry().delta(ONE, 0) == Delta(0, True, (), (), ())
    assert ids(registry(entry(1), entry(2, TWO), revision=5).delta(ONE, 0)) == ["1"]


def test_who_is_up_to_date_gets_nothing() -> None:
    """Not even the launch rules."""
    assert registry(entry(1), revision=5).delta(ONE, 5) == Delta(5, False, (), (), None)


def test_who_knows_more_than_we_do_gets_everything() -> None:
    """An agent of a server whose store was put back from a backup."""
    assert registry(entry(1), revision=5).delta(ONE, 6).full


def test_who_was_away_before_a_restart_gets_everything() -> None:
    """What happened before the load is not in memory."""
    assert registry(entry(1), revision=5).delta(ONE, 4).full


def test_launch_rules_come_with_the_intent_that_changed_them() -> None:
    """As the whole new list."""
    held = registry(revision=5)
    rule = LaunchRule("a", "b", (selectors_of(["unix:uid:1"]),))
    held.launch_rules = (rule,)
    held.follow([Change(6, ChangeKind.INTENT, "r")], {})
    assert held.delta(ONE, 5) == Delta(6, False, (), (), (rule,))


def test_every_change_rings() -> None:
    """Whoever listens is woken."""
    bell = Bell()
    held = Registry(bell)
    with bell.listen() as rung:
        held.load([], 0)
        assert rung.is_set()
        rung.clear()
        held.follow([], {})
        assert not rung.is_set()
        held.follow([Change(1, ChangeKind.ENTRY, "1")], {"1": entry(1)})
        assert rung.is_set()


steps = st.lists(st.tuples(st.integers(0, 6), st.sampled_from(["put", "remove"]), st.booleans()), max_size=40)


@given(steps)
def test_deltas_add_up_to_the_whole(script: list[tuple[int, str, bool]]) -> None:
    """An agent that looks now and then, and another that never missed a thing, hold what a full update would give."""
    held = registry(revision=1)
    agents: dict[SpiffeId, dict[str, Entry]] = {ONE: {}, TWO: {}}
    known = dict.fromkeys(agents, 1)
    for revision, (number, action, look) in enumerate(script, start=2):
        put = action == "put"
        current = replace(entry(number, PARENTS[number % 3]), revision=revision)
        kind = ChangeKind.ENTRY if put else ChangeKind.REMOVED
        held.follow([Change(revision, kind, str(number))], {str(number): current} if put else {})
        for agent in agents if look else [ONE]:
            catch_up(held, agent, agents, known)
    for agent, mirror in agents.items():
        catch_up(held, agent, agents, known)
        assert mirror == {e.id: e for e in held.entitled(agent)}


def catch_up(
    held: Registry, agent: SpiffeId, agents: dict[SpiffeId, dict[str, Entry]], known: dict[SpiffeId, int]
) -> None:
    """What an agent does with a delta."""
    delta = held.delta(agent, known[agent])
    assert not delta.full
    for gone in delta.removed:
        agents[agent].pop(gone.id, None)
    agents[agent].update({e.id: e for e in delta.upserts})
    known[agent] = delta.revision


def test_an_entry_that_moves_to_another_node_leaves_the_first() -> None:
    """The one forgets it, the other learns it, the rest hear nothing."""
    held = registry(entry(1, ONE), revision=1)
    held.follow([Change(2, ChangeKind.ENTRY, "1")], {"1": entry(1, TWO)})
    assert [gone.id for gone in held.delta(ONE, 1).removed] == ["1"]
    assert ids(held.delta(ONE, 1)) == []
    assert ids(held.delta(TWO, 1)) == ["1"]
    assert held.entitled_to(ONE, "1") is None
    assert [e.id for e in held.entitled(ONE)] == []


def test_the_registry_knows_when_an_entry_has_ended() -> None:
    """Until it is changed or goes."""
    held = registry(replace(entry(1), expires_at=50), entry(2), revision=1)
    assert [held.ended(49), held.ended(50)] == [False, True]
    held.follow([Change(2, ChangeKind.ENTRY, "1")], {"1": replace(entry(1), expires_at=60)})
    assert not held.ended(50)
    held.follow([Change(3, ChangeKind.REMOVED, "1")], {})
    assert not held.ended(99)
