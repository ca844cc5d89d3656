"""The authority over restarts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ringfence.broker.published import Place
from ringfence.broker.trust_loading import Terms, load_trust
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.rotation import Step
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.certs.svid import verify_peer
from tests.broker.world import SERVER, Clock, leaf, world


async def test_a_restarted_server_signs_with_the_same_keys(tmp_path: Path) -> None:
    """No new authority, no growing bundle, no new sequence."""
    keys = MemoryKeys()
    async with world(tmp_path, keys) as first:
        before = first.trust.bundle
    async with world(tmp_path, keys) as second:
        assert second.trust.bundle == before
        assert verify_peer(await leaf(second), before, now=second.clock()) == SERVER


async def test_lost_keys_are_said_and_nothing_is_replaced_in_silence(tmp_path: Path) -> None:
    """An operator must decide: a new authority would cut off everyone who trusts the old one."""
    async with world(tmp_path, MemoryKeys()):
        pass
    with pytest.raises(RingfenceError) as caught:
        async with world(tmp_path, MemoryKeys()):
            pass
    assert caught.value.kind is Kind.NOT_FOUND


async def test_a_server_that_was_off_for_longer_than_its_authority_lives_starts(tmp_path: Path) -> None:
    """A weekend: all that it signed has ended, so it makes a new authority and says so in its bundle."""
    keys, clock = MemoryKeys(), Clock()
    async with world(tmp_path, keys, clock) as w:
        clock.turn(hours=13)
        assert await w.trust.step() is Step.PREPARE
    clock.turn(hours=1000)
    async with world(tmp_path, keys, clock) as w:
        assert verify_peer(await leaf(w), w.trust.bundle, now=clock()) == SERVER
        assert (tmp_path / "bundle.pem").read_bytes() == w.trust.bundle.x509_pem()


async def test_a_folder_of_another_trust_domain_is_refused(tmp_path: Path) -> None:
    """It would go on issuing names of the first one, whatever it was told."""
    keys = MemoryKeys()
    async with world(tmp_path, keys) as w:
        place = Place(w.store, w.bell, w.clock, tmp_path / "bundle.pem")
        with pytest.raises(RingfenceError, match="belongs to the trust domain") as caught:
            await load_trust(Terms(TrustDomain("other.org"), timedelta(hours=24)), keys, place)
    assert caught.value.kind is Kind.CONFLICT
    assert "--trust-domain example.org" in caught.value.hint


async def test_without_the_feature_there_is_no_wit_key(tmp_path: Path) -> None:
    """No key is made, and the bundle says nothing of it."""
    keys = MemoryKeys()
    async with world(tmp_path, keys) as w:
        assert w.trust.authority.wit is None
        assert b"wit-svid" not in w.trust.bundle.to_json()
        assert not any(name.startswith("wit-") for name in keys.key_ids())


async def test_the_feature_brings_wit_keys_and_takes_them_away(tmp_path: Path) -> None:
    """Kept over a restart; off again they are out of the bundle, with a new sequence, and their key is deleted."""
    keys = MemoryKeys()
    async with world(tmp_path, keys) as w:
        plain = w.trust.bundle
    async with world(tmp_path, keys, wit=True) as w:
        first = w.trust.bundle
        assert first.sequence == plain.sequence + 1
        assert len(first.wit_authorities) == 1
    async with world(tmp_path, keys, wit=True) as w:
        assert w.trust.bundle == first
    async with world(tmp_path, keys) as w:
        assert w.trust.bundle == replace(plain, sequence=first.sequence + 1)
        assert keys.key_ids() == w.trust.authority.current.key_ids
    async with world(tmp_path, keys, wit=True) as w:
        assert not w.trust.bundle.wit_authorities.keys() & first.wit_authorities.keys()
