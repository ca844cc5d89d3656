"""The authority as it rotates."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.rotation import Step
from ringfence.certs.shared import PublishedKey
from ringfence.certs.svid import verify_peer
from tests.broker.world import SERVER, Clock, leaf, world
from tests.certs.material import new_authority
from tests.certs.test_intermediate import Above


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
