"""What is revoked: serials of X.509-SVIDs and whole identities, as one frozen value that everybody compares against.

A server holds the newest value in `broker/ringfence/broker/revoked.py`: `Revoked.current` is a `Revocations`, replaced
as a whole after the change was recorded in the store, and `Revoked.bell` (a `Bell`) rings at every replacement. Whoever
enforces listens to that bell, clears its event and then reads `current`; nothing is ever changed in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ringfence.certs.spiffe_id import SpiffeId

# CRLReason by its name in RFC 5280 5.3.1: those that an operator's act can mean.
REASON_CODES = ("unspecified", "keyCompromise", "superseded", "cessationOfOperation", "privilegeWithdrawn")


@dataclass(frozen=True, slots=True)
class RevokedSerial:
    """One X.509-SVID whose key is not to be believed any more; it is forgotten once the certificate has ended."""

    serial: str  # 32 lower-case hexadecimal digits, as `serial_of` writes it
    spiffe_id: str
    authority: str  # subject key id of whoever signed it: the CRL it belongs to
    node: str  # the agent that it was issued through
    not_after: int  # Unix seconds, as all times here
    revoked_at: int
    code: str  # one of REASON_CODES
    reason: str  # an operator's words


@dataclass(frozen=True, slots=True)
class RevokedIdentity:
    """A SPIFFE ID that nothing is issued for, and that nobody believes, until it is lifted."""

    spiffe_id: str
    revoked_at: int
    reason: str  # an operator's words
    by: str  # who revoked it
    until: int = 0  # when the server lifts it by itself; 0: only an operator does


@dataclass(frozen=True, slots=True)
class Revocations:
    """Everything that is revoked now. A node is not in here: revoking one revokes the serials issued through it."""

    serials: Mapping[str, RevokedSerial] = field(default_factory=lambda: MappingProxyType({}))
    identities: Mapping[str, RevokedIdentity] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, serials: Iterable[RevokedSerial] = (), identities: Iterable[RevokedIdentity] = ()) -> Revocations:
        """The value that holds those, by their names."""
        return cls(
            MappingProxyType({one.serial: one for one in serials}),
            MappingProxyType({one.spiffe_id: one for one in identities}),
        )

    def __bool__(self) -> bool:
        """Whether anything is revoked at all."""
        return bool(self.serials or self.identities)

    def identity(self, spiffe_id: SpiffeId | str) -> RevokedIdentity | None:
        """The revocation of that identity as a whole, if there is one."""
        return self.identities.get(str(spiffe_id)) if self.identities else None

    def is_revoked(self, spiffe_id: SpiffeId | str, serial: int | str = "") -> bool:
        """Whether a document of *spiffe_id* with that serial (a number, or as `serial_of` writes it) is refused."""
        if not self:
            return False
        text = serial_of(serial) if isinstance(serial, int) else serial
        return str(spiffe_id) in self.identities or text in self.serials

    def ended(self, now: int) -> tuple[tuple[RevokedSerial, ...], tuple[RevokedIdentity, ...]]:
        """What may be forgotten at *now*: serials whose certificate has ended, identities whose time is over."""
        return (
            tuple(one for one in self.serials.values() if one.not_after <= now),
            tuple(one for one in self.identities.values() if 0 < one.until <= now),
        )


def serial_of(number: int) -> str:
    """A serial number as the ledger and every listing write it: 32 lower-case hexadecimal digits."""
    return f"{number:032x}"
