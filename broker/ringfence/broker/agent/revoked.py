"""What the server said is revoked: nothing of it is served, no token of it is valid, and it is kept over restarts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from ringfence.agent.v1 import agent_pb2
from ringfence.broker.agent.svids import HeldSvid
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId


@dataclass(frozen=True, slots=True)
class Revoked:
    """All of it, as it came last; `crls` are DER, for those who verify certificates."""

    encoded: bytes = field(default=b"", repr=False)
    identities: Mapping[str, str] = field(default_factory=dict)  # an operator's words, by SPIFFE ID
    serials: frozenset[int] = frozenset()  # of what was issued through this node
    crls: tuple[bytes, ...] = field(default=(), repr=False)

    @classmethod
    def parse(cls, encoded: bytes) -> Revoked:
        """From the wire or the disk; raises INVALID for what is no such message."""
        try:
            message = agent_pb2.Revoked.FromString(encoded)
            serials = frozenset(int(serial, 16) for serial in message.serials)
        except (DecodeError, ValueError) as error:
            raise RingfenceError(Kind.INVALID, "what is said to be revoked can't be read") from error
        identities = {one.spiffe_id: one.reason for one in message.identities}
        return cls(encoded, identities, serials, tuple(message.crls))

    @property
    def digest(self) -> bytes:
        """What the server compares with, to save sending it again; empty for nothing."""
        return hashlib.sha256(self.encoded).digest() if self.encoded else b""

    def is_identity(self, spiffe_id: SpiffeId) -> bool:
        """Whether that identity is revoked as a whole."""
        return bool(self.identities) and str(spiffe_id) in self.identities

    def takes(self, svid: HeldSvid) -> bool:
        """Whether *svid* is not to be served any more."""
        return svid.serial in self.serials or self.is_identity(svid.spiffe_id)
