"""Signers over keys on disk, and an authority whose keys those are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ringfence.broker.keys.choice import DISK, Unlocked
from ringfence.broker.signing.pool import Signers
from ringfence.certs.authority import Authority
from ringfence.certs.profile import LeafDraft
from tests.certs.material import HOUR, NOW, TD, TRAINER, new_key

PASSPHRASE = b"correct horse battery staple"


@dataclass(frozen=True, slots=True)
class Crew:
    """Signers that run, and what they sign for."""

    signers: Signers
    authority: Authority
    unlocked: Unlocked

    def drafts(self, count: int) -> list[LeafDraft]:
        """Drafts for as many keys."""
        return [
            self.authority.draft_x509(TRAINER, new_key().public_key(), now=NOW, ttl=HOUR, dns_names=(f"w{number}",))
            for number in range(count)
        ]


@asynccontextmanager
async def crew(folder: Path, count: int = 1) -> AsyncIterator[Crew]:
    """*count* signers that have opened their keys, gone at the end."""
    unlocked = Unlocked(DISK, folder / "keys", PASSPHRASE)
    authority = await asyncio.to_thread(lambda: Authority.create(TD, unlocked.open(), now=NOW))
    signers = Signers(count, TD, unlocked)
    try:
        await signers.start()
        yield Crew(signers, authority, unlocked)
    finally:
        await signers.close()
