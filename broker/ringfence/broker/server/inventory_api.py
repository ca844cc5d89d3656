"""The admin API's part on the inventory: which identity documents were given to whom, and why they are as they are."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.access.present import present
from ringfence.broker.access.reads import visible
from ringfence.broker.entry import API_ORIGIN, DEFAULT_X509_TTL, Entry
from ringfence.broker.entry_message import entry_message
from ringfence.broker.intent import Intent
from ringfence.broker.registry import Registry
from ringfence.broker.server.lifetime import why_this_life
from ringfence.broker.store import inventory
from ringfence.broker.store.engine import Store
from ringfence.broker.store.inventory import PAGE, STATES, Identity, Wanted
from ringfence.broker.trust import Trust
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId

_PLACE = re.compile("([0-9]{1,18}):([!-~]{1,40})")  # end of life in Unix seconds, serial
_GONE = "the entry that gave it is gone"
_OWN = "an identity of Ringfence's own: its server, or an agent that attested"


@dataclass(frozen=True, slots=True)
class InventoryApi:
    """ListIdentities and ExplainIdentity of the service Server."""

    store: Store
    registry: Registry
    intent: Intent
    trust: Trust
    clock: Callable[[], datetime]

    def unary(self) -> dict[str, Callable[[Any], Awaitable[Any]]]:
        """What answers each call."""
        return {"ListIdentities": self.list_identities, "ExplainIdentity": self.explain}

    async def list_identities(self, asked: pb.ListIdentitiesRequest) -> pb.ListIdentitiesResponse:
        """One page; raises INVALID for a state or a page that there is not."""
        if asked.state not in {"", *STATES}:
            raise RingfenceError(Kind.INVALID, f"there is no state {asked.state!r}", hint=f"One of {', '.join(STATES)}")
        wanted = Wanted(
            serial=asked.serial,
            spiffe_id=asked.spiffe_id,
            node=asked.node,
            state=asked.state,
            expiring=max(asked.expiring, 0),
            after=_after(asked.after),
        )
        found, more = await self._seen(wanted)
        following = f"{found[-1].not_after}:{found[-1].serial}" if more else ""
        return pb.ListIdentitiesResponse(identities=map(_message, found), next=following)

    async def _seen(self, wanted: Wanted) -> tuple[list[Identity], bool]:
        """The next `PAGE` of *wanted* that the caller may see, and whether there are more of them.

        The page after begins behind the last of them: behind one that is not shown, it would name that one.
        """
        rights, seen, ended = present().rights, list[Identity](), False
        while not ended and len(seen) <= PAGE:
            rows = await self.store.run(inventory.page, wanted, self._now(), limit=PAGE + 1)
            seen += [row for row in rows if visible((row.spiffe_id,), rights)]
            ended = len(rows) <= PAGE
            wanted = replace(wanted, after=(rows[-1].not_after, rows[-1].serial)) if rows else wanted
        return seen[:PAGE], len(seen) > PAGE

    async def explain(self, asked: pb.ExplainIdentityRequest) -> pb.ExplainIdentityResponse:
        """Why an identity, or one document of it, was given; raises NOT_FOUND for what is not known here."""
        if asked.subject.startswith("spiffe://"):
            reasons = [reason async for reason in self._granted(SpiffeId.parse(asked.subject))]
            hint = "Run `ringfence entry list`, or `ringfence identity list` for what was given"
        else:
            found = await self.store.run(inventory.page, Wanted(serial=asked.subject), self._now())
            reasons = [self._reason(self.registry.get(each.entry_id), each) for each in found]
            hint = "Run `ringfence identity list`; what ended long ago is forgotten (--ledger-retention)"
        if not reasons:
            raise RingfenceError(Kind.NOT_FOUND, f"{asked.subject} is not known here", hint=hint)
        return pb.ExplainIdentityResponse(reasons=reasons)

    async def _granted(self, spiffe_id: SpiffeId) -> Any:
        """One reason an entry that names it; without any (a rule, or gone), one a document that lives."""
        any_entry = False
        for entry in list(self._entries(spiffe_id)):
            any_entry = True
            newest = await self.store.run(inventory.newest, str(spiffe_id), entry.id, self._now())
            yield self._reason(entry, newest)
        if any_entry:
            return
        live = Wanted(spiffe_id=str(spiffe_id), state=inventory.LIVE)
        for identity in await self.store.run(inventory.page, live, self._now()):
            yield self._reason(self.registry.get(identity.entry_id), identity)

    def _entries(self, spiffe_id: SpiffeId) -> Iterator[Entry]:
        for entry in self.registry.every():
            if entry.spiffe_id == spiffe_id and not entry.template:
                yield entry

    def _reason(self, entry: Entry | None, identity: Identity | None) -> pb.IdentityReason:
        reason = pb.IdentityReason()
        if identity is not None:
            reason.identity.CopyFrom(_message(identity))
            reason.ttl = identity.not_after - identity.recorded_at
        if entry is None:
            reason.why = _OWN if identity is not None and not identity.entry_id else _GONE
            reason.why_ttl = why_this_life(None, identity, self.trust.authority, self.intent.model)
            return reason
        reason.entry.CopyFrom(entry_message(entry))
        reason.ttl = reason.ttl or entry.x509_ttl or DEFAULT_X509_TTL
        reason.why = self._why(entry, identity)
        reason.why_ttl = why_this_life(entry, identity, self.trust.authority, self.intent.model)
        self._place(reason, entry)
        return reason

    def _why(self, entry: Entry, identity: Identity | None) -> str:
        if identity is not None and identity.state == inventory.REVOKED:
            return "revoked" + (f": {identity.reason}" if identity.reason else "")
        if identity is not None and identity.reason:
            return f"refused: {identity.reason}"
        selectors = ", ".join(map(str, entry.selectors))
        by = "an operator's entry" if entry.origin == API_ORIGIN else f"the document of {entry.origin}"
        return f"{by} gives it to every process on {entry.parent_id} with {selectors}"

    def _place(self, reason: pb.IdentityReason, entry: Entry) -> None:
        model = self.intent.model
        workload = model.workloads.get(entry.origin) if model is not None else None
        if model is not None and workload is not None:
            reason.path, reason.line, reason.revision = workload.origin.path, workload.origin.line, model.revision

    def _now(self) -> int:
        return int(self.clock().timestamp())


def _after(text: str) -> tuple[int, str] | None:
    if not text:
        return None
    found = _PLACE.fullmatch(text)
    if found is None:
        why = f"{text[:64]!r} is no page of this list"
        raise RingfenceError(Kind.INVALID, why, hint="Begin with the first page again")
    return int(found[1]), found[2]


def _message(identity: Identity) -> pb.Identity:
    return pb.Identity(
        serial=identity.serial,
        kind=identity.kind,
        spiffe_id=identity.spiffe_id,
        entry_id=identity.entry_id,
        node=identity.node,
        authority=identity.authority,
        recorded_at=identity.recorded_at,
        expires_at=identity.not_after,
        state=identity.state,
        reason=identity.reason,
        renews=identity.renews,
        renewed_by=identity.renewed_by,
    )
