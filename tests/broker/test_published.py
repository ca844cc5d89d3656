"""What is published, and when."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.certs.errors import RingfenceError
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.rotation import Step
from tests.broker.world import let_write, world


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
