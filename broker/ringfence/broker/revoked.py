"""The newest value of what is revoked, in memory: everybody who enforces compares with it and is rung for."""

from __future__ import annotations

from ringfence.broker import metrics
from ringfence.broker.bell import Bell
from ringfence.broker.store.revocations import Held
from ringfence.certs.crl import Crl
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.revocation import Revocations
from ringfence.certs.spiffe_id import SpiffeId


class Revoked:
    """`current` is replaced as a whole, once the store has the change; `bell` rings at every replacement.

    *everyone*, the bell of all that streams carry, rings with it.
    """

    def __init__(self, everyone: Bell | None = None) -> None:
        self.bell = Bell()
        self._everyone = Bell() if everyone is None else everyone
        self.current = Revocations()
        self.crls: dict[str, Crl] = {}  # by authority
        self.version = 0  # that of the value held

    def take(self, held: Held) -> None:
        """Hold *held* from now on, if it is anything new."""
        if (self.current, self.crls) == (held.revocations, held.crls):
            return
        self.current, self.crls = held.revocations, held.crls
        self.version += 1
        metrics.REVOKED.labels("serials").set(len(self.current.serials))
        metrics.REVOKED.labels("identities").set(len(self.current.identities))
        self.bell.ring()
        self._everyone.ring()

    def check(self, spiffe_id: SpiffeId) -> None:
        """Raise DENIED when that identity is revoked as a whole, in the words of who revoked it."""
        found = self.current.identity(spiffe_id)
        if found is not None:
            raise RingfenceError(
                Kind.DENIED,
                f"{spiffe_id} was revoked" + (f": {found.reason}" if found.reason else ""),
                hint=f"Only an operator can lift that: ringfence identity lift {spiffe_id}",
            )
