"""Grants, and what they add up to."""

from __future__ import annotations

import pytest

from ringfence.broker.access.rights import Grant, Match, Rights, Role, Subject, rights_of
from ringfence.certs.spiffe_id import SpiffeId
from tests.broker.access.callers import TD

TRAINER = SpiffeId(TD, "/ns/a/sa/trainer")
ISSUER = "https://idp.example.org"
LEAD = Subject("x", issuer=ISSUER, claims={"sub": frozenset({"ann"}), "groups": frozenset({"leads", "staff"})})


@pytest.mark.parametrize(
    ("match", "subject", "fits"),
    [
        (Match(uid=7), Subject("x", uid=7, gid=1), True),
        (Match(uid=7), Subject("x", uid=8, gid=7), False),
        (Match(uid=0), Subject("x", spiffe_id=TRAINER), False),
        (Match(gid=7), Subject("x", uid=1, gid=7), True),
        (Match(uid=1, gid=7), Subject("x", uid=1, gid=8), False),
        (Match(spiffe_id=TRAINER), Subject("x", spiffe_id=TRAINER), True),
        (Match(spiffe_id=TRAINER), Subject("x", spiffe_id=SpiffeId(TD, "/ns/a/sa/trainer2")), False),
        (Match(issuer=ISSUER, claims={"groups": "leads"}), LEAD, True),
        (Match(issuer=ISSUER, claims={"groups": "lead"}), LEAD, False),
        (Match(issuer=ISSUER, claims={"groups": "leads", "sub": "bob"}), LEAD, False),
        (Match(issuer="https://other.example.org", claims={"groups": "leads"}), LEAD, False),
        (Match(claims={"groups": "leads"}), LEAD, False),
        (Match(), Subject("x", uid=0), False),
    ],
)
def test_a_grant_is_for_those_whom_all_of_it_fits(match: Match, subject: Subject, *, fits: bool) -> None:
    """And for nobody when it says nothing."""
    assert match.fits(subject) == fits


def test_without_a_grant_nothing_is_allowed() -> None:
    """Nor by grants that are for others."""
    assert rights_of(LEAD, []) == Rights()
    assert rights_of(LEAD, [Grant(Role.ADMIN, Match(uid=0))]) == Rights()


def test_grants_add_up() -> None:
    """Namespaces of editors and viewers stay apart, and a viewer without namespaces sees everything."""
    own = Match(uid=7)
    some = [
        Grant(Role.EDITOR, own, frozenset({"a"}), "g0"),
        Grant(Role.EDITOR, own, frozenset({"b"}), "g1"),
        Grant(Role.VIEWER, own, frozenset({"c"}), "g2"),
        Grant(Role.VIEWER, Match(uid=8)),
    ]
    found = rights_of(Subject("x", uid=7), some)
    assert found == Rights(edits=frozenset("ab"), views=frozenset("c"), because=("g0", "g1", "g2"))
    assert [found.sees(name) for name in ("a", "c", "d", "")] == [True, True, False, False]
    assert [found.changes(name) for name in ("a", "c", "d", "")] == [True, False, False, False]
    assert str(found) == "editor of a, editor of b, viewer of c"
    assert rights_of(Subject("x", uid=8), some).sees("")
    assert not rights_of(Subject("x", uid=8), some).changes("a")
