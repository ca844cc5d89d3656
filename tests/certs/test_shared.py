"""A bundle of several servers of one trust domain: what is taken from those above and below, and for how long."""

from __future__ import annotations

import pytest

from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.shared import LONGEST, MAX_KEYS, PublishedKey, Shared, spki_of
from tests.certs.material import HOUR, NOW, SECOND, TD, new_authority, new_key

SOON = NOW.replace(microsecond=0) + HOUR
MINE, OTHERS = "spiffe://example.org/below/mine", "spiffe://example.org/below/others"


def published(kid: str, by: str = MINE, *, ends: object = SOON) -> PublishedKey:
    """A key of a server below."""
    return PublishedKey(kid, new_key().public_key(), ends, by)  # type: ignore[arg-type]


def own() -> SpiffeBundle:
    """What this server makes itself."""
    return new_authority()[0].bundle(7)


def test_alone_a_bundle_is_what_the_server_makes_itself() -> None:
    """Nothing is above or below."""
    bundle = own()
    assert Shared().merged(bundle) == bundle


def test_roots_are_those_of_the_server_above_and_keys_everybodys() -> None:
    """And both follow what it says next; a part that it did not speak of stays."""
    bundle, root, key, below = own(), own().x509_authorities, new_key().public_key(), published("below")
    shared = Shared().with_key(below, (), NOW).heard(TD, roots=root).heard(TD, keys={"above": key})
    merged = shared.merged(bundle)
    assert merged.x509_authorities == root
    assert merged.jwt_authorities == {"above": key, "below": below.public_key, **bundle.jwt_authorities}
    assert merged.sequence == bundle.sequence
    later = shared.heard(TD, keys={}).merged(bundle)
    assert later.x509_authorities == root
    assert set(later.jwt_authorities) == {"below", *bundle.jwt_authorities}


def test_a_key_stays_until_its_end_and_no_longer_than_90_days() -> None:
    """Whatever was asked for; then it goes by itself."""
    shared = Shared().with_key(published("a"), (), NOW).with_key(published("b", ends=NOW + 9 * LONGEST), (), NOW)
    assert [one.kid for one in shared.pruned(SOON - SECOND).below] == ["a", "b"]
    assert not shared.has_ended(SOON - SECOND)
    assert shared.has_ended(SOON)
    assert [one.kid for one in shared.pruned(SOON).below] == ["b"]
    assert not shared.pruned(NOW + LONGEST).below


def test_a_key_that_is_published_with_its_end_passed_is_withdrawn() -> None:
    """By the server that published it."""
    shared = Shared().with_key(published("a"), (), NOW)
    assert not shared.with_key(published("a", ends=NOW - HOUR), (), NOW).below


@pytest.mark.parametrize("ends", [SOON, NOW - HOUR])
def test_no_server_takes_the_place_of_anothers_key(ends: object) -> None:
    """Neither of another one below, nor ours, nor one above: not even to withdraw it."""
    above = Shared().heard(TD, keys={"above": new_key().public_key()})
    shared = above.with_key(published("theirs", OTHERS), (), NOW)
    for kid in ("theirs", "ours", "above"):
        with pytest.raises(RingfenceError, match="another server's") as caught:
            shared.with_key(published(kid, ends=ends), ("ours",), NOW)
        assert caught.value.kind is Kind.DENIED


def test_a_key_that_has_come_back_from_above_may_be_published_again() -> None:
    """A server above shows what it was given."""
    key = published("a")
    shared = Shared().with_key(key, (), NOW).heard(TD, keys={"a": key.public_key})
    assert shared.with_key(key, (), NOW).below == (key,)


def test_no_server_fills_the_bundle() -> None:
    """Others go on."""
    shared = Shared()
    for number in range(MAX_KEYS):
        shared = shared.with_key(published(f"k{number}"), (), NOW)
    with pytest.raises(RingfenceError) as caught:
        shared.with_key(published("one more"), (), NOW)
    assert caught.value.kind is Kind.EXHAUSTED
    assert len(shared.with_key(published("k0"), (), NOW).below) == MAX_KEYS
    assert len(shared.with_key(published("other", OTHERS), (), NOW).below) == MAX_KEYS + 1


def test_a_withdrawn_key_of_ours_is_gone_although_those_above_still_show_it() -> None:
    """Until it would have ended."""
    shared = Shared().heard(TD, keys={"revoked": new_key().public_key()}).without("revoked", SOON)
    assert "revoked" not in shared.merged(own()).jwt_authorities
    assert not shared.pruned(SOON).withdrawn


def test_it_is_the_same_after_a_restart() -> None:
    """All of it, as plain values."""
    shared = Shared().heard(TD, roots=own().x509_authorities, keys={"above": new_key().public_key()})
    shared = shared.with_key(published("below"), (), NOW).without("gone", SOON)
    assert Shared.load(shared.dump(), TD) == shared
    assert Shared.load({}, TD) == Shared()
    with pytest.raises(RingfenceError) as caught:
        Shared.load({"above": 1}, TD)
    assert caught.value.kind is Kind.INVALID


def test_a_key_that_a_server_below_withdraws_is_gone_although_those_above_still_show_it() -> None:
    """It had been passed on to them."""
    key = published("a")
    shared = Shared().with_key(key, (), NOW).heard(TD, keys={"a": key.public_key})
    ended = PublishedKey("a", key.public_key, NOW - HOUR, MINE)
    assert "a" not in shared.with_key(ended, (), NOW).merged(own()).jwt_authorities
    assert "a" in shared.with_key(ended, (), NOW).withdrawn


def test_what_is_no_key_is_refused() -> None:
    """A name that is none, bytes that are none, an end that is none."""
    spki, end = spki_of(new_key().public_key()), int(SOON.timestamp())
    assert PublishedKey.read("a", spki, end, MINE).not_after == SOON
    for kid, text, ends in (("", spki, end), ("a\n", spki, end), ("a" * 257, spki, end), ("a", b"", end)):
        with pytest.raises(RingfenceError) as caught:
            PublishedKey.read(kid, text, ends, MINE)
        assert caught.value.kind is Kind.INVALID
    with pytest.raises(RingfenceError):
        PublishedKey.read("a", spki, 1 << 62, MINE)


def test_a_server_that_has_nobody_above_any_more_makes_its_bundle_itself() -> None:
    """What those below published stays."""
    shared = Shared().heard(TD, roots=own().x509_authorities).with_key(published("below"), (), NOW).without("x", SOON)
    assert [one.kid for one in shared.alone().below] == ["below"]
    bundle = own()
    assert shared.alone().merged(bundle).x509_authorities == bundle.x509_authorities
    assert not shared.alone().withdrawn
