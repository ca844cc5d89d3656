"""The port behind which the cryptography of a batch of X509-SVIDs is done, and how it is done in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec

from ringfence.certs.errors import RingfenceError
from ringfence.certs.profile import LeafDraft, csr_public_keys
from ringfence.certs.slot import X509Authority

_SLICE = 32  # signatures between two breaths of the event loop, about 3 ms

A = TypeVar("A")
B = TypeVar("B")


class Signing(Protocol):
    """Answers stand in the order asked; one that is refused does not spoil the others."""

    async def keys(self, requests: Sequence[bytes]) -> list[ec.EllipticCurvePublicKey | RingfenceError]:
        """The key of each request (PKCS #10 DER), its possession proven."""
        ...

    async def sign(self, authority: X509Authority, drafts: Sequence[LeafDraft]) -> list[bytes | RingfenceError]:
        """The certificate (DER) of each draft by *authority*: the draft checked before, the certificate after."""
        ...

    async def close(self) -> None:
        """Nothing is asked any more."""
        ...


class Here:
    """In this process, on the event loop, which breathes in between."""

    async def keys(self, requests: Sequence[bytes]) -> list[ec.EllipticCurvePublicKey | RingfenceError]:
        """See `Signing`."""
        return await _sliced(csr_public_keys, requests)

    async def sign(self, authority: X509Authority, drafts: Sequence[LeafDraft]) -> list[bytes | RingfenceError]:
        """See `Signing`."""
        return await _sliced(authority.sign_all, drafts)

    async def close(self) -> None:
        """See `Signing`."""


async def _sliced(
    work: Callable[[Sequence[A]], list[B | RingfenceError]], items: Sequence[A]
) -> list[B | RingfenceError]:
    done: list[B | RingfenceError] = []
    for start in range(0, len(items), _SLICE):
        if start:
            await asyncio.sleep(0)
        done += work(items[start : start + _SLICE])
    return done
