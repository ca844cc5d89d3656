"""One X509-SVID on its way: its draft, and the names by which the ledger, the audit log and traces know it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ringfence.broker.audit.issuing import Issued
from ringfence.broker.store.ledger import Issuance
from ringfence.broker.telemetry.names import COUNT, ENTRY, SPIFFE_ID
from ringfence.broker.telemetry.spans import Attributes
from ringfence.certs.profile import LeafDraft


@dataclass(frozen=True, slots=True)
class Job:
    """A draft that passed its checks; the names are written out once."""

    entry_id: str  # as it was asked for: an instance of a rule has a path behind a #
    draft: LeafDraft
    serial: str
    spiffe_id: str

    @classmethod
    def of(cls, entry_id: str, draft: LeafDraft) -> Job:
        """The job to sign *draft*; *entry_id* empty for Ringfence's own identities."""
        return cls(entry_id, draft, f"{draft.serial:032x}", str(draft.spiffe_id))

    @property
    def issued(self) -> Issued:
        """As the audit log has it."""
        return self.serial, self.spiffe_id, self.entry_id

    def intent(self, agent_id: str, authority: str) -> Issuance:
        """As the ledger has it, before *authority*, a subject key id, signs."""
        end = int(self.draft.not_after.timestamp())
        entry_id = self.entry_id.partition("#")[0]
        return Issuance(self.serial, "x509", self.spiffe_id, entry_id, agent_id, authority, end)


def about(jobs: Sequence[Job]) -> Attributes:
    """What the span of a batch says: who one is for, or how many there are."""
    if len(jobs) == 1:
        return {SPIFFE_ID: jobs[0].spiffe_id, ENTRY: jobs[0].entry_id}
    return {COUNT: len(jobs)}
