"""Who may have what, and for how long."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from ringfence.broker.bell import Bell
from ringfence.broker.entry import Entry, any_node, selectors_of
from ringfence.broker.issuance.grants import JWT, WIT, X509, Grants
from ringfence.broker.registry import Registry
from ringfence.broker.revoked import Revoked
from ringfence.broker.store.revocations import Held
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.revocation import Revocations, RevokedIdentity
from ringfence.certs.spiffe_id import SpiffeId
from tests.broker.world import AGENT, START, TD, Clock

ENTRY = Entry("e1", SpiffeId(TD, "/ns/a/sa/trainer"), any_node(TD), selectors_of(["unix:uid:1000"]))
ELSEWHERE = SpiffeId(TD, "/ringfence/agent/join_token/two")


class Place:
    """Grants over one entry."""

    def __init__(self, entry: Entry) -> None:
        self.clock, self.revoked, registry = Clock(), Revoked(), Registry(Bell())
        registry.load([entry], 1)
        self.grants = Grants(registry, self.revoked, self.clock)

    def refusal(self, wanted: str = "e1") -> RingfenceError:
        """Why the agent is not given the entry."""
        with pytest.raises(RingfenceError) as caught:
            self.grants.entry(AGENT, wanted)
        assert caught.value.kind is Kind.DENIED
        return caught.value


def test_an_agent_is_granted_its_own_entries_and_those_of_every_node() -> None:
    """By the id alone."""
    assert Place(ENTRY).grants.entry(AGENT, "e1") == ENTRY
    own = replace(ENTRY, parent_id=AGENT)
    assert Place(own).grants.entry(AGENT, "e1") == own


def test_an_entry_of_another_agent_is_refused_in_the_words_for_none() -> None:
    """Ids are not to be probed."""
    place = Place(replace(ENTRY, parent_id=ELSEWHERE))
    assert place.refusal("e1").detail.replace("e1", "?") == place.refusal("none").detail.replace("none", "?")


def test_nothing_is_granted_from_the_end_of_an_entry_on() -> None:
    """To the second."""
    place = Place(replace(ENTRY, expires_at=int(START.timestamp()) + 60))
    place.clock.turn(seconds=59)
    assert place.grants.entry(AGENT, "e1").id == "e1"
    place.clock.turn(seconds=1)
    assert "ended" in place.refusal().detail


def test_a_revoked_identity_is_granted_to_nobody() -> None:
    """In the words of who revoked it; whoever asks once more before signing hears the same."""
    place = Place(ENTRY)
    one = RevokedIdentity(str(ENTRY.spiffe_id), 1, "stolen", "an operator")
    place.revoked.take(Held(Revocations(identities={one.spiffe_id: one}), {}))
    assert "stolen" in place.refusal().detail
    with pytest.raises(RingfenceError, match="stolen"):
        place.grants.check(ENTRY.spiffe_id)


@pytest.mark.parametrize(
    ("kind", "fields", "seconds"),
    [
        (X509, {}, 3600),
        (X509, {"x509_ttl": 60, "jwt_ttl": 7}, 60),
        (WIT, {"x509_ttl": 60, "jwt_ttl": 7}, 60),
        (JWT, {"x509_ttl": 60}, 300),
        (JWT, {"x509_ttl": 60, "jwt_ttl": 7}, 7),
    ],
)
def test_a_document_lives_as_its_entry_says(kind: str, fields: dict[str, int], seconds: int) -> None:
    """A WIT-SVID as an X509-SVID of the entry; never longer than the entry itself."""
    place, entry = Place(ENTRY), replace(ENTRY, **fields)  # type: ignore[arg-type]
    assert place.grants.life(entry, kind) == timedelta(seconds=seconds)
    ends = replace(entry, expires_at=int(place.clock().timestamp()) + 5)
    assert place.grants.life(ends, kind) == timedelta(seconds=5)
