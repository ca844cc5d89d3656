"""The authority over restarts and rotations."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ringfence.broker.trust import Trust
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.rotation import Step
from ringfence.certs.shared import PublishedKey
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.certs.svid import verify_peer
from tests.broker.world import TD, Clock, World, let_write, world
from tests.certs.material import new_authority
from tests.certs.test_intermediate import Above

SERVER = SpiffeId(TD, "/ringfence/server")


async def leaf(w: World) -> list[bytes]:
    """An SVID signed now."""
    return list(await w.issuer.own_svid(SERVER, ec.generate_private_key(ec.SECP256R1()).public_key()))


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


async def test_the_bundle_file_is_what_is_published(tmp_path: Path) -> None:
    """Agents bootstrap from it, so it follows every rotation."""
    async with world(tmp_path, MemoryKeys()) as w:
        assert (tmp_path / "bundle.pem").read_bytes() == w.trust.bundle.x509_pem()
        await w.trust.replace(lead_seconds=0)
        assert (tmp_path / "bundle.pem").read_bytes().count(b"BEGIN CERTIFICATE") == 2


async def test_every_change_of_the_bundle_raises_its_sequence(tmp_path: Path) -> None:
    """Over restarts too (SPIFFE bundle 4.1.1)."""
    keys, seen = MemoryKeys(), []
    async with world(tmp_path, keys) as w:
        seen.append(w.trust.bundle.sequence)
        await w.trust.replace(lead_seconds=0)
        seen.append(w.trust.bundle.sequence)
    async with world(tmp_path, keys) as w:
        assert w.trust.bundle.sequence == seen[-1]
        await w.trust.replace(lead_seconds=0)
        seen.append(w.trust.bundle.sequence)
    assert seen == sorted(set(seen))


async def test_the_clock_drives_prepare_activate_and_prune(tmp_path: Path) -> None:
    """Published half a life before the end, used from 5/6 on, the old one dropped once its last SVID has ended."""
    clock, done = Clock(), []
    async with world(tmp_path, MemoryKeys(), clock) as w:
        for _ in range(60):
            old = await leaf(w)
            step = await w.trust.step()
            if step is not Step.WAIT:
                done.append(step)
            assert verify_peer(old, w.trust.bundle, now=clock()) == SERVER
            assert len(w.trust.bundle.x509_authorities) <= 3
            clock.turn(hours=1)
    assert done[:2] == [Step.PREPARE, Step.ACTIVATE]
    assert Step.PRUNE in done


async def test_agents_are_told_at_activation_and_not_before(tmp_path: Path) -> None:
    """What they would get before is signed by the old one still."""
    async with world(tmp_path, MemoryKeys()) as w:
        w.clock.turn(hours=13)
        assert await w.trust.step() is Step.PREPARE
        assert w.trust.rotations == 0
        w.clock.turn(hours=8)
        assert await w.trust.step() is Step.ACTIVATE
        assert w.trust.rotations == 1


async def test_nothing_is_published_that_is_not_on_disk(tmp_path: Path) -> None:
    """With the store failing, the bundle others see stays as it was, and the next try succeeds."""
    async with world(tmp_path, MemoryKeys()) as w:
        before = w.trust.bundle
        w.clock.turn(hours=13)
        await let_write(w.store, allowed=False)
        with pytest.raises(RingfenceError, match="may not be written"):
            await w.trust.step()
        assert w.trust.bundle == before
        await let_write(w.store, allowed=True)
        assert await w.trust.step() is Step.WAIT
        assert len(w.trust.bundle.x509_authorities) == 2


async def test_a_crash_in_the_middle_of_a_rotation_is_survived(tmp_path: Path) -> None:
    """Prepared and not yet active: the restarted server activates the very authority that was published."""
    keys, clock = MemoryKeys(), Clock()
    async with world(tmp_path, keys, clock) as w:
        clock.turn(hours=13)
        await w.trust.step()
        published = w.trust.bundle
    async with world(tmp_path, keys, clock) as w:
        assert w.trust.bundle == published
        clock.turn(hours=8)
        assert await w.trust.step() is Step.ACTIVATE
        assert verify_peer(await leaf(w), published, now=clock()) == SERVER


async def test_a_clock_set_back_does_not_rotate_again(tmp_path: Path) -> None:
    """It waits."""
    async with world(tmp_path, MemoryKeys()) as w:
        w.clock.turn(hours=-48)
        assert await w.trust.step() is Step.WAIT


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
        with pytest.raises(RingfenceError, match="belongs to the trust domain") as caught:
            await Trust.load(
                TrustDomain("other.org"),
                keys,
                store=w.store,
                bell=w.bell,
                clock=w.clock,
                pem=tmp_path / "bundle.pem",
                ca_ttl=timedelta(hours=24),
            )
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


async def test_wit_keys_rotate_by_themselves(tmp_path: Path) -> None:
    """Published before use, as the others."""
    async with world(tmp_path, MemoryKeys(), wit=True) as w:
        before = w.trust.authority.wit_key()
        w.clock.turn(hours=13)
        assert await w.trust.step() is Step.PREPARE
        assert len(w.trust.bundle.wit_authorities) == 2
        w.clock.turn(hours=8)
        assert await w.trust.step() is Step.ACTIVATE
        assert w.trust.authority.wit_key() != before
        assert before.kid in w.trust.bundle.wit_authorities


async def test_a_server_below_takes_no_name_of_a_wit_key(tmp_path: Path) -> None:
    """A kid is one key's in the whole bundle (WIT-SVID 6.1): readers would drop ours."""
    async with world(tmp_path, MemoryKeys(), wit=True) as w:
        ours = w.trust.authority.wit_key()
        with pytest.raises(RingfenceError) as caught:
            await w.trust.adopt(PublishedKey(ours.kid, ours.public_key, ours.not_after, str(SERVER)))
        assert caught.value.kind is Kind.DENIED


class Away(Above):
    """Signs authorities, and publishes no key."""

    def publish(self, *_: object) -> None:
        """Fails."""
        raise RingfenceError(Kind.UNAVAILABLE, "the server above is away")


async def test_what_was_made_is_published_although_the_rest_failed(tmp_path: Path) -> None:
    """An upstream that signs one kind and is away for the other: the one that is there is used, once it was known."""
    clock = Clock()
    async with world(tmp_path, MemoryKeys(), clock) as w:
        authority = w.trust.authority
        authority.upstream = Away(new_authority(now=clock())[0])
        clock.turn(hours=13)
        for _ in range(2):
            with pytest.raises(RingfenceError, match="away"):
                await w.trust.step()
        prepared = authority.x509.next
        assert prepared is not None
        assert set(prepared.roots) <= set(w.trust.bundle.x509_authorities)
        clock.turn(hours=8)
        assert await w.trust.step() is Step.ACTIVATE
        assert authority.x509.current is prepared
        assert authority.jwt.next is None
