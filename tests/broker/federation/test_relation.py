"""Which relations an operator may make."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringfence.broker.federation.relation import Profile, Relation, check_relation, check_url
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

OWN, THEIRS = TrustDomain("example.org"), TrustDomain("b.test")
WEB = Relation(THEIRS, "https://b.test:8445/bundle", Profile.WEB)
SPIFFE = Relation(THEIRS, "https://10.0.0.1/", Profile.SPIFFE, SpiffeId(THEIRS, "/ringfence/server"))


@pytest.mark.parametrize("relation", [WEB, SPIFFE])
def test_each_profile_has_its_parameters(relation: Relation) -> None:
    """SPIFFE_Federation.md 5.1: all of them explicit."""
    assert check_relation(relation, OWN) is relation
    assert relation.same_as(replace(relation, created_at=1))
    assert not relation.same_as(replace(relation, url="https://c.test/"))


@pytest.mark.parametrize(
    "relation",
    [
        replace(WEB, trust_domain=OWN),
        replace(WEB, url="http://b.test/"),
        replace(WEB, endpoint_id=SPIFFE.endpoint_id),
        replace(SPIFFE, endpoint_id=None),
        replace(SPIFFE, endpoint_id=SpiffeId(THEIRS, "")),
    ],
)
def test_anything_else_is_refused(relation: Relation) -> None:
    """Our own name, plain HTTP, and parameters of the other profile."""
    with pytest.raises(RingfenceError) as caught:
        check_relation(relation, OWN)
    assert caught.value.kind is Kind.INVALID


@pytest.mark.parametrize(
    "url",
    ["", "b.test", "http://b.test", "https://", "https://u:secret@b.test/", "https://b.test/#a", "https://b test/",
     "https://b.test:port/", "https://[b", "https://b\u00e4.test/", "https://b.test/" + "a" * 3000],
)  # fmt: skip
def test_a_url_is_https_and_holds_no_user(url: str) -> None:
    """Section 5.2.1.1; and a password in it is not repeated."""
    with pytest.raises(RingfenceError) as caught:
        check_url(url)
    assert caught.value.kind is Kind.INVALID
    assert "secret" not in str(caught.value)
