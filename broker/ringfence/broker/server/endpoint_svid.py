"""What the bundle endpoint shows: after a change of authority, for a while yet, the SVID that partners can verify."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from ringfence.broker.trust import Trust
from ringfence.certs.errors import Kind, RingfenceError

_LEFT = 10  # the last tenth of its life an SVID is not shown: clocks differ


@dataclass(frozen=True, slots=True)
class Shown:
    """An SVID with its key (PEM), the key id of its issuer, and its life."""

    pem: bytes
    issuer: str
    not_before: datetime
    not_after: datetime

    @property
    def until(self) -> datetime:
        """When it has to give way to a newer one at the latest."""
        return self.not_after - (self.not_after - self.not_before) / _LEFT


class EndpointSvid:
    """Of the SVIDs that it is offered, the newest that partners know the issuer of.

    Partners of `https_spiffe` verify the endpoint by the bundle that they are about to replace, and learn of a new
    authority here alone: were its SVID shown at once, whoever looked last before a change could never look again.
    """

    def __init__(self, trust: Trust, load: Callable[[bytes], ssl.SSLContext], clock: Callable[[], datetime]) -> None:
        self._trust = trust
        self._load = load
        self._clock = clock
        self._newest: Shown | None = None
        self._shown: Shown | None = None
        self._made: tuple[Shown, ssl.SSLContext] | None = None

    def offer(self, svid: Shown) -> None:
        """The server's newest SVID: shown from now on, unless another authority signed it."""
        self._newest = svid
        if self._shown is None or self._shown.issuer == svid.issuer:
            self._shown = svid

    def context(self) -> ssl.SSLContext:
        """TLS that shows it, one and the same until it changes; raises UNAVAILABLE before anything was offered."""
        if self._shown is None or not self._is_good(self._shown):
            self._shown = self._newest
        if self._shown is None:
            raise RingfenceError(Kind.UNAVAILABLE, "the server has no SVID yet")
        if self._made is None or self._made[0] is not self._shown:
            self._made = self._shown, self._load(self._shown.pem)
        return self._made[1]

    def _is_good(self, svid: Shown) -> bool:
        # 1. Its authority is one that partners are told to trust,
        # 2. no operator has said that its key may be in other hands,
        # 3. and it will not end while a partner looks at it.
        trusted = svid.issuer in self._trust.issuers and svid.issuer not in self._trust.tainted
        return trusted and self._clock() < svid.until
