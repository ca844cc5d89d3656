"""Recording: what is about to be signed is on disk before it is, and what became of it before it is delivered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Connection

from ringfence.broker import events
from ringfence.broker.audit.issuing import Issued, Refusal, batch
from ringfence.broker.audit.journal import AuditLog
from ringfence.broker.audit.transaction import recorded
from ringfence.broker.registry import Registry
from ringfence.broker.store import ledger
from ringfence.broker.store.engine import Store
from ringfence.broker.store.ledger import Issuance
from ringfence.broker.store.ledger import Refusal as Refused
from ringfence.certs.errors import RingfenceError


class Records:
    """The ledger and the audit log, written together. Every method raises what the store or the audit log raises."""

    def __init__(self, store: Store, audit: AuditLog | None, registry: Registry, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._audit = audit
        self._registry = registry
        self._clock = clock

    async def intend(self, items: Sequence[Issuance]) -> None:
        """That *items* are about to be signed: on return that is durable."""
        await self._store.run(ledger.intend, items, self._now())

    async def close(
        self,
        kind: str,
        agent_id: str,
        signed: Sequence[Issued],
        refused: Sequence[Refusal] = (),
        failed: Sequence[Refusal] = (),
    ) -> None:
        """How a batch ended, in the ledger and the audit log at once; *failed* have their open intents."""
        now = self._now()
        refusals = [self._refusal(kind, agent_id, entry_id, error) for entry_id, error in refused]

        def close(connection: Connection) -> None:
            ledger.issued(connection, [serial for serial, _, _ in signed])
            ledger.refuse(connection, refusals, now)

        await recorded(self._store, self._audit, close, lambda _: batch(kind, agent_id, signed, [*refused, *failed]))
        events.issued(kind, agent_id, signed)

    def _refusal(self, kind: str, agent_id: str, asked: str, error: RingfenceError) -> Refused:
        """The refusal as the ledger keeps it: an entry that nobody knows is one and the same, whatever it is called."""
        entry = self._registry.get(asked.partition("#")[0])
        entry_id, spiffe_id = ("", "") if entry is None else (entry.id, entry.name)
        return Refused(kind, spiffe_id, entry_id, agent_id, error.kind.value, error.detail)

    def _now(self) -> int:
        return int(self._clock().timestamp())
