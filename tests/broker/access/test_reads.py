"""What is cut from answers, for each call that is cut; who sees everything gets the very answer."""

from __future__ import annotations

from typing import Any

import pytest

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.access.reads import ITEMS, LISTS, shown
from ringfence.broker.access.rights import Rights
from ringfence.certs.errors import Kind, RingfenceError

A, B, OUTSIDE = (f"spiffe://example.org{path}" for path in ("/ns/a/sa/x", "/ns/b/sa/x", "/ringfence/server"))
RULE = "spiffe://example.org/ns/a/sa/{k8s.sa}"
OF_A = Rights(views=frozenset({"a"}))
EVERYTHING = (Rights(admin=True), Rights(views_all=True), Rights(views_all=True, edits=frozenset({"b"})))


def reason(document: str, entry: str) -> pb.IdentityReason:
    """Why one was given."""
    return pb.IdentityReason(identity=pb.Identity(spiffe_id=document), entry=pb.Entry(spiffe_id=entry))


def between(source: str, destination: str) -> pb.Decision:
    """A decision."""
    return pb.Decision(source=source, destination=destination)


CUT = [
    ("ListEntries", pb.ListEntriesResponse(entries=[pb.Entry(spiffe_id=n) for n in (A, B, RULE, OUTSIDE)]), {0, 2}),
    ("ListIdentities", pb.ListIdentitiesResponse(identities=[pb.Identity(spiffe_id=n) for n in (B, A, "")]), {1}),
    ("ListDepartures", pb.ListDeparturesResponse(departures=[pb.Departure(spiffe_id=n) for n in (B, A)]), {1}),
    ("ListProxies", pb.ListProxiesResponse(proxies=[pb.ProxyStatus(spiffe_id=n) for n in (A, B)]), {0}),
    ("ShowProxies", pb.ShowProxiesResponse(proxies=[pb.ProxyDump(spiffe_id=n) for n in (B, A)]), {1}),
    (
        "ShowPolicy",
        pb.ShowPolicyResponse(
            documents=[pb.DocumentStatus(document=name) for name in ("Mesh mesh", "Allow b/x", "Deny a/x")]
        ),
        {2},
    ),
    ("WatchProxies", pb.WatchProxiesResponse(late=[pb.ProxyStatus(spiffe_id=n) for n in (B, A)]), {1}),
    (
        "ListFabricMembers",
        pb.ListFabricMembersResponse(members=[pb.FabricMembership(spiffe_id=n) for n in (A, B)]),
        {0},
    ),
    ("ExplainIdentity", pb.ExplainIdentityResponse(reasons=[reason("", B), reason("", A), reason(A, RULE)]), {1, 2}),
    (
        "ExplainAuthz",
        pb.ExplainAuthzResponse(decisions=[between(A, B), between(B, A), between(B, B), between("10.0.0.1", A)]),
        {0, 1, 3},
    ),
    (
        "ListRevocations",
        pb.ListRevocationsResponse(identities=[pb.RevokedIdentity(spiffe_id=n) for n in (B, A)]),
        {1},
    ),
]


@pytest.mark.parametrize(("method", "answer", "kept"), CUT)
def test_a_reader_of_one_namespace_gets_what_is_of_it(method: str, answer: Any, kept: set[int]) -> None:
    """By the ID, and of a decision by either end."""
    field = next(iter(LISTS[method]))
    items = list(getattr(answer, field))
    for rights in EVERYTHING:
        copy = type(answer).FromString(answer.SerializeToString())
        assert list(getattr(shown(method, copy, rights), field)) == items
    copy = type(answer).FromString(answer.SerializeToString())
    assert list(getattr(shown(method, copy, OF_A), field)) == [items[i] for i in sorted(kept)]


def test_every_list_that_is_cut_is_tried_here() -> None:
    """So that a new one is."""
    assert {method for method, _, _ in CUT} == set(LISTS)


@pytest.mark.parametrize("method", sorted(ITEMS))
def test_a_single_decision_is_shown_or_not(method: str) -> None:
    """A follower is not told of others' at all."""
    assert shown(method, between(B, B), OF_A) is None
    assert shown(method, between(B, A), OF_A) == between(B, A)
    assert shown(method, between("", "api.example.org"), OF_A) is None


def test_an_explanation_of_which_nothing_is_left_is_not_known() -> None:
    """As if there were none; an empty list is just empty."""
    with pytest.raises(RingfenceError) as caught:
        shown("ExplainIdentity", pb.ExplainIdentityResponse(reasons=[reason(B, B)]), OF_A)
    assert caught.value.kind is Kind.NOT_FOUND
    assert not shown("ListProxies", pb.ListProxiesResponse(), OF_A).proxies
    info = pb.InfoResponse(entries=7)
    assert shown("Info", info, OF_A) is info
