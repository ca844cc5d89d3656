"""Keeps out whoever shows a revoked certificate, and ends connections whose certificate is revoked while they last."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from ringfence.broker import events
from ringfence.broker.bell import Bell
from ringfence.broker.entry import AGENT_PREFIX
from ringfence.broker.fleet.ads import DISCOVERY
from ringfence.broker.fleet.farewell import PATIENCE
from ringfence.broker.revoked import Revoked
from ringfence.broker.trust import Trust
from ringfence.certs.certificate import issuer_key_id, read_certificate
from ringfence.certs.errors import RingfenceError
from ringfence.certs.revocation import serial_of
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.certs.svid import spiffe_id_of
from ringfence.proto.lane import Connection, RefusedBut
from ringfence.proto.status import Code, Status

_HEARING = 1.0  # seconds that a refused connection stays
_FAREWELL = PATIENCE + _HEARING


@dataclass(frozen=True, slots=True)
class _Guest:
    spiffe_id: SpiffeId
    serial: str
    issuer: str  # key id; empty where its end is not for us to see


class Doorkeeper:
    """For every connection with a client certificate, whatever is called on it: agents, proxies, operators."""

    def __init__(self, revoked: Revoked, trust: Trust, bell: Bell) -> None:
        self.ended = 0  # connections, since the start
        self._revoked = revoked
        self._trust = trust
        self._bell = bell
        self._seen = self._state
        self._inside: dict[Connection, _Guest] = {}

    def admit(self, connection: Connection) -> None:
        """The lane's `on_connect`: raises PERMISSION_DENIED for a revoked certificate, and remembers any other.

        A proxy whose identity is revoked may still hear from the fleet that nothing is its any more.
        """
        if connection.peer.certificate is None:
            return
        try:
            guest = self._guest(connection.peer.certificate)
        except RingfenceError:
            return  # no SVID: whichever method is called refuses it in its own words
        if (why := self._why(guest)) is not None:
            events.peer_turned_away(guest.spiffe_id, connection.peer.address, "refused", why.message)
            # Its calls hear why, for a moment: after that it must come back, by then perhaps with another certificate.
            gone = self._is_revoked_proxy(guest)
            asyncio.get_running_loop().call_later(_FAREWELL if gone else _HEARING, _show_out, connection, why)
            raise RefusedBut(why, DISCOVERY) if gone else why
        self._inside[connection] = guest
        connection.closed.add_done_callback(lambda _: self._inside.pop(connection, None))

    async def run(self) -> None:
        """End what is revoked, wherever it was, until cancelled."""
        with self._bell.listen() as changed:
            while True:
                await changed.wait()
                changed.clear()
                self.sweep()

    def sweep(self) -> None:
        """End what is revoked now; nothing is looked at where nothing was revoked since."""
        if self._state == self._seen:
            return
        self._seen = self._state
        for connection, guest in list(self._inside.items()):
            if (why := self._why(guest)) is not None:
                del self._inside[connection]
                self.ended += 1
                events.peer_turned_away(guest.spiffe_id, connection.peer.address, "ended", why.message)
                connection.cut(why)

    @property
    def _state(self) -> tuple[int, int]:
        return self._revoked.version, self._trust.bundle.sequence

    def _guest(self, certificate: bytes) -> _Guest:
        spiffe_id, leaf = spiffe_id_of(certificate), read_certificate(certificate)
        issuer = issuer_key_id(leaf)
        # An agent renews on its open stream, which looks at the newer one; others that we do not know we cannot miss.
        if spiffe_id.path.startswith(AGENT_PREFIX) or issuer not in self._trust.issuers:
            issuer = ""
        return _Guest(spiffe_id, serial_of(leaf.serial_number), issuer)

    def _is_revoked_proxy(self, guest: _Guest) -> bool:
        known = not guest.issuer or guest.issuer in self._trust.issuers
        return known and not guest.spiffe_id.is_reserved and self._revoked.current.identity(guest.spiffe_id) is not None

    def _why(self, guest: _Guest) -> Status | None:
        if self._revoked.current.is_revoked(guest.spiffe_id, guest.serial):
            return Status(Code.PERMISSION_DENIED, f"the SVID {guest.serial} of {guest.spiffe_id} was revoked")
        if guest.issuer and guest.issuer not in self._trust.issuers:
            return Status(
                Code.UNAUTHENTICATED, f"the authority that signed the SVID of {guest.spiffe_id} was revoked: reconnect"
            )
        return None


def _show_out(connection: Connection, why: Status) -> None:
    if not connection.closed.done():
        connection.cut(why)
