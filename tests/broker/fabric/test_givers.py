"""Who may give the identities that grants name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.broker.bell import Bell
from ringfence.broker.entry import Entry, any_node, selectors_of
from ringfence.broker.fabric.givers import Givers
from ringfence.broker.registry import Registry
from ringfence.broker.store.changes import Change, ChangeKind
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

TD = TrustDomain("example.org")
ONE, TWO = (SpiffeId(TD, f"/ringfence/agent/join_token/{name}") for name in ("one", "two"))
GRANTED = frozenset(
    {"spiffe://example.org/ns/a/sa/w1", "spiffe://example.org/ns/b/*", "spiffe://example.org/ns/a/job/llm/rank/*"}
)


def entry(number: int, path: str = "/ns/a/sa/w{}", parent: SpiffeId = any_node(TD)) -> Entry:  # noqa: B008  # a constant
    """Entry number *number*, for a workload of that number."""
    return Entry(str(number), SpiffeId(TD, path.format(number)), parent, selectors_of(["unix:uid:1"]))


def rule(template: str) -> Entry:
    """A rule entry."""
    return replace(entry(9), spiffe_id=SpiffeId(TD, ""), template=template)


def givers(*entries: Entry) -> Givers:
    """Of a registry with *entries*."""
    registry = Registry(Bell())
    registry.load(entries, 1)
    made = Givers(registry)
    made.follow(GRANTED)
    return made


def test_an_agent_may_give_what_its_entries_and_those_of_every_node_give() -> None:
    """Of what is granted, and not what another agent gives."""
    made = givers(entry(1, parent=ONE), entry(2), entry(3, "/ns/b/sa/w{}"), entry(4, "/ns/bb/sa/w{}"))

    assert made.of(ONE) == {"spiffe://example.org/ns/a/sa/w1", "spiffe://example.org/ns/b/*"}
    assert made.of(TWO) == {"spiffe://example.org/ns/b/*"}


def test_a_rank_is_given_by_an_entry_of_a_rank() -> None:
    """Of that job, and of no other."""
    assert givers(entry(7, "/ns/a/job/llm/rank/{}")).of(ONE) == {"spiffe://example.org/ns/a/job/llm/rank/*"}
    assert givers(entry(7, "/ns/a/job/llm2/rank/{}")).of(ONE) == frozenset()


@pytest.mark.parametrize(
    ("template", "given"),
    [
        ("/ns/{k8s.ns}/sa/{k8s.sa}", {"spiffe://example.org/ns/a/sa/w1", "spiffe://example.org/ns/b/*"}),
        ("/ns/a/sa/{k8s.sa}", {"spiffe://example.org/ns/a/sa/w1"}),
        ("/ns/b/sa/{k8s.sa}", {"spiffe://example.org/ns/b/*"}),
        ("/ns/a/job/llm/rank/{launch.rank}", {"spiffe://example.org/ns/a/job/llm/rank/*"}),
        ("/ns/c/sa/{k8s.sa}", set()),
        ("/pods/{k8s.pod-name}", set()),
    ],
)
def test_a_rule_gives_what_its_template_makes(template: str, given: set[str]) -> None:
    """What it may make, for a whole namespace or job."""
    found = givers(rule(template)).of(ONE)

    assert given <= found
    assert found - given <= {"spiffe://example.org/ns/a/job/llm/rank/*"}  # of a namespace that a template leaves open


PATHS = ("/ns/a/sa/w{}", "/ns/b/sa/w{}", "/ns/c/sa/w{}", "/ns/a/job/llm/rank/{}")
steps = st.lists(
    st.tuples(
        st.integers(1, 3), st.sampled_from([None, *PATHS]), st.sampled_from([ONE, TWO, any_node(TD)]), st.booleans()
    ),
    max_size=20,
)


@given(steps)
def test_what_followed_the_registry_is_what_was_made_from_it(
    changes: list[tuple[int, str | None, SpiffeId, bool]],
) -> None:
    """Whatever came, went and moved, and whichever changes were seen together."""
    registry = Registry(Bell())
    registry.load([], 1)
    made = Givers(registry)
    made.follow(GRANTED)
    for revision, (number, path, parent, is_looked_at) in enumerate(changes, 2):
        kind = ChangeKind.ENTRY if path else ChangeKind.REMOVED
        held = {str(number): entry(number, path, parent)} if path else {}
        registry.follow([Change(revision, kind, str(number))], held)
        if is_looked_at:
            made.follow(GRANTED)
    made.follow(GRANTED)
    fresh = Givers(registry)
    fresh.follow(GRANTED)

    assert [made.of(agent) for agent in (ONE, TWO)] == [fresh.of(agent) for agent in (ONE, TWO)]
