"""Authorising: which entry an agent may have a document by, and how long that document lives."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from ringfence.broker.entry import DEFAULT_JWT_TTL, DEFAULT_X509_TTL, Entry
from ringfence.broker.registry import Registry
from ringfence.broker.revoked import Revoked
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId

X509, JWT, WIT = "x509", "jwt", "wit"  # kinds of documents, as ledger, audit log and metrics have them


class Grants:
    """What the registry says that agents may have, without what is revoked."""

    def __init__(self, registry: Registry, revoked: Revoked, clock: Callable[[], datetime]) -> None:
        self._registry = registry
        self._revoked = revoked
        self._clock = clock

    def entry(self, agent: SpiffeId, wanted: str) -> Entry:
        """The entry `ID`, or the instance of a rule `ID#/path`, that *agent* asks for; raises DENIED."""
        entry_id, is_instance, path = wanted.partition("#")
        # 1. An entry of this agent, or of every one.
        entry = self._registry.entitled_to(agent, entry_id)
        if entry is None:
            # The same words for an entry of another agent as for none: ids are not to be probed.
            raise RingfenceError(Kind.DENIED, f"{agent} has no entry {entry_id}")
        # 2. It has not ended.
        if entry.has_ended(self._clock().timestamp()):
            raise RingfenceError(Kind.DENIED, f"entry {entry_id} has ended")
        # 3. Of a rule only an instance is an identity, and only what its template makes is one.
        if entry.template or is_instance:
            entry = entry.instance(path)
        # 4. Nobody has revoked that identity.
        self.check(entry.spiffe_id)
        return entry

    def check(self, spiffe_id: SpiffeId) -> None:
        """Raise DENIED when that identity is revoked as a whole."""
        self._revoked.check(spiffe_id)

    def life(self, entry: Entry, kind: str) -> timedelta:
        """How long a document of *kind* lives by *entry*: no longer than that does. A WIT-SVID is as an X509-SVID."""
        asked, default = (entry.jwt_ttl, DEFAULT_JWT_TTL) if kind == JWT else (entry.x509_ttl, DEFAULT_X509_TTL)
        life = timedelta(seconds=asked or default)
        if not entry.expires_at:
            return life
        return min(life, datetime.fromtimestamp(entry.expires_at, UTC) - self._clock())
