"""The cache of SVIDs: made when asked for, renewed at half-life, ended when revoked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ringfence.broker.agent.entry import Entry
from ringfence.broker.agent.svids import HeldSvid, SvidStore, new_key
from ringfence.certs.authority import Authority
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.selectors import Selector
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ID = SpiffeId(TrustDomain("example.org"), "/ns/a/sa/w")
OTHER = SpiffeId(TrustDomain("example.org"), "/ns/a/sa/other")
ENTRY = Entry("e", ID, frozenset({Selector("unix", "uid:1")}), HOUR, HOUR, (), "", 0)


@pytest.fixture(scope="module")
def authority() -> Authority:
    """An authority of the test's trust domain."""
    return Authority.create(TrustDomain("example.org"), MemoryKeys(), now=NOW)


def _held(authority: Authority, *, jitter: float = 0.0) -> HeldSvid:
    key = new_key()
    return HeldSvid.of(authority.issue_x509(ID, key.public_key(), now=NOW, ttl=HOUR), key, ID, jitter)


def _refused(error: RingfenceError) -> bool:
    return error.kind is Kind.UNAUTHENTICATED


def test_an_svid_for_another_name_is_refused(authority: Authority) -> None:
    """What the server issued must name what was asked for."""
    key = new_key()
    chain = authority.issue_x509(OTHER, key.public_key(), now=NOW, ttl=HOUR)
    with pytest.raises(RingfenceError, check=_refused):
        HeldSvid.of(chain, key, ID, 0.0)


def test_an_svid_for_another_key_is_refused(authority: Authority) -> None:
    """What the server issued must be for the key that was made here."""
    chain = authority.issue_x509(ID, new_key().public_key(), now=NOW, ttl=HOUR)
    with pytest.raises(RingfenceError, check=_refused):
        HeldSvid.of(chain, new_key(), ID, 0.0)


def test_nothing_secret_is_shown(authority: Authority) -> None:
    """The representation of a held SVID holds neither its key nor its chain."""
    held = _held(authority)
    assert "key" not in repr(held)
    assert "chain" not in repr(held)


def test_a_kept_svid_is_read_back(authority: Authority) -> None:
    """What is dumped loads to the same, its renewal date included: the jitter is drawn once."""
    held = _held(authority, jitter=0.7)
    assert HeldSvid.load(held.dump()) == held


def test_a_damaged_one_is_refused(authority: Authority) -> None:
    """A kept SVID whose key is another's, or no key, is not taken up."""
    kept = _held(authority).dump()
    for damage in ({"key": _held(authority).dump()["key"]}, {"key": "AAAA"}, {"chain": []}):
        with pytest.raises(RingfenceError):
            HeldSvid.load({**kept, **damage})


def test_renewal_is_due_at_half_life_only_where_it_is_used(authority: Authority) -> None:
    """An SVID is due at half of its life if a stream shows it, or somebody used it of late."""
    store, held = SvidStore(keep=HOUR / 4), _held(authority)
    store.put("e", held, NOW)
    before, after = held.renew_at - timedelta(seconds=1), held.renew_at + timedelta(seconds=1)
    assert store.due(before, frozenset({"e"})) == ()
    assert store.due(after, frozenset({"e"})) == ("e",)
    assert store.due(after, frozenset()) == ()
    store.use(ENTRY, after)
    assert store.due(after, frozenset()) == ("e",)


def test_one_that_has_ended_is_given_to_nobody(authority: Authority) -> None:
    """After its end an SVID is not served, and is dropped."""
    store, held = SvidStore(), _held(authority)
    store.put("e", held, NOW)
    late = held.not_after + timedelta(seconds=1)
    assert store.use(ENTRY, held.not_after) is held
    assert store.use(ENTRY, late) is None
    store.drop_ended(late)
    assert len(store) == 0


def test_a_spread_renewal_comes_sooner_never_later(authority: Authority) -> None:
    """A rotation moves renewals into its spread, and leaves alone what was due sooner."""
    store, held = SvidStore(), _held(authority)
    store.put("e", held, NOW)
    store.spread(NOW, timedelta(seconds=10), lambda: 0.5)
    assert store.next_due() == NOW + timedelta(seconds=5)
    store.spread(NOW, 2 * HOUR, lambda: 0.9)
    assert store.next_due() == NOW + timedelta(seconds=5)


def test_a_rotation_of_one_authority_leaves_the_others_svids_alone() -> None:
    """Only what the named authority signed comes sooner."""
    authority = Authority.create(TrustDomain("example.org"), MemoryKeys(), now=NOW)
    store = SvidStore()
    old = _held(authority)
    first = authority.current.x509.id
    authority.prepare(NOW)
    authority.activate(NOW)
    new = _held(authority)
    assert (old.authority, new.authority) == (first, authority.current.x509.id)
    store.put("old", old, NOW)
    store.put("new", new, NOW)
    store.spread(NOW, timedelta(seconds=10), lambda: 0.5, frozenset({first}))
    assert {entry: svid.renew_at for entry, svid in store} == {
        "old": NOW + timedelta(seconds=5),
        "new": new.renew_at,
    }
