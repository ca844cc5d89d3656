"""What an editor may do to an entry, each guard by the entry that only it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ringfence.broker.access.registrations import EntryPermit
from ringfence.broker.entry import Entry, any_node, selectors_of
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from tests.broker.access.callers import ROOT, TD, editor, viewer

GOOD = Entry("", SpiffeId(TD, "/ns/team-a/sa/trainer"), any_node(TD), selectors_of(["unix:uid:1"]))
DOMAIN = SpiffeId(TD, "")


def below(path: str) -> SpiffeId:
    """A parent."""
    return SpiffeId(TD, path)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"parent_id": below("/ringfence/agent/join_token/x")},
        {"parent_id": below("/ns/team-a/nodes/gpu")},
        {"dns_names": ("trainer.team-a", "trainer.team-a.svc", "trainer.team-a.svc.cluster.local")},
        {"spiffe_id": DOMAIN, "template": "/ns/team-a/sa/{k8s.sa}"},
        {"hint": "web", "x509_ttl": 60, "jwt_jti": True, "store_svid": True, "expires_at": 9},
    ],
)
def test_an_editor_registers_within_its_namespace(changes: dict[str, Any]) -> None:
    """Everything that stays inside."""
    permit = EntryPermit.of(editor("team-a"))
    permit.check(replace(GOOD, **changes))
    assert permit.owns(replace(GOOD, **changes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"spiffe_id": SpiffeId(TD, "/ns/team-b/sa/trainer")}, "editor of the namespace team-b"),
        ({"spiffe_id": SpiffeId(TD, "/ns/team-ab/sa/trainer")}, "editor of the namespace team-ab"),
        ({"spiffe_id": SpiffeId(TD, "/ns/Team-a/sa/trainer")}, "editor of the namespace Team-a"),
        ({"spiffe_id": SpiffeId(TD, "/other/team-a/x")}, "outside of a namespace"),
        ({"spiffe_id": DOMAIN, "template": "/ns/{k8s.ns}/sa/x"}, "outside of a namespace"),
        ({"spiffe_id": DOMAIN, "template": "/ns/team-b/sa/{k8s.sa}"}, "editor of the namespace team-b"),
        ({"parent_id": below("/ringfence/server")}, "put below"),
        ({"parent_id": below("/ns/team-b/nodes/gpu")}, "put below"),
        ({"admin": True}, "admin, downstream or federates-with"),
        ({"downstream": True}, "admin, downstream or federates-with"),
        ({"federates_with": (TrustDomain("b.org"),)}, "admin, downstream or federates-with"),
        ({"dns_names": ("trainer.team-a", "db.team-b")}, "db.team-b"),
        ({"dns_names": ("team-a",)}, "DNS name team-a"),
        ({"dns_names": ("x.y.team-a",)}, "DNS name x.y.team-a"),
        ({"dns_names": ("x.team-a.com",)}, "DNS name x.team-a.com"),
    ],
)
def test_an_editor_registers_nothing_that_reaches_further(changes: dict[str, Any], says: str) -> None:
    """Refused in words that say what is missing; an admin may."""
    entry = replace(GOOD, **changes)
    permit = EntryPermit.of(editor("team-a"))
    with pytest.raises(RingfenceError) as caught:
        permit.check(entry)
    assert caught.value.kind is Kind.DENIED
    assert says in caught.value.detail
    assert not permit.owns(entry)
    EntryPermit.of(ROOT).check(entry)


@pytest.mark.parametrize("held", ["/ns/team-a/sa/trainer", "/ns/team-a/sa/{k8s.sa}"])
@pytest.mark.parametrize("changes", [{}, {"spiffe_id": DOMAIN, "template": "/ns/team-a/sa/{k8s.sa}"}])
def test_nobody_gets_by_an_entry_the_name_of_one_with_rights(held: str, changes: dict[str, Any]) -> None:
    """An editor that could give its own process an admin's name would be an admin."""
    permit = EntryPermit.of(editor("team-a", privileged=[held]))
    with pytest.raises(RingfenceError, match="rights of its own"):
        permit.check(replace(GOOD, **changes))
    assert EntryPermit.of(editor("team-a", privileged=["/ns/team-a/x/trainer"])).owns(GOOD)


def test_who_changes_nothing_and_who_sees_what() -> None:
    """A viewer changes no entry; readers see their namespaces, and only all-viewers what is in none."""
    other = replace(GOOD, spiffe_id=SpiffeId(TD, "/ns/team-b/sa/x"))
    outside = replace(GOOD, spiffe_id=SpiffeId(TD, "/x"))
    for caller, seen in (
        (ROOT, [True, True, True]),
        (viewer(), [True, True, True]),
        (viewer("team-b"), [False, True, False]),
        (editor("team-a"), [True, False, False]),
    ):
        assert [EntryPermit.of(caller).sees(entry) for entry in (GOOD, other, outside)] == seen
    assert not EntryPermit.of(viewer()).owns(GOOD)


def test_a_refusal_says_who_what_and_how() -> None:
    """With the very lines that would change it."""
    with pytest.raises(RingfenceError) as caught:
        EntryPermit.of(editor("team-b")).check(GOOD)
    said = str(caught.value)
    assert "spiffe://example.org/ns/team-a/sa/deployer (editor of team-b) may not register" in said
    assert "that takes an editor of the namespace team-a" in said
    assert 'role = "editor", namespaces = ["team-a"], spiffe_id = "spiffe://example.org/ns/team-a/sa/deployer"' in said
