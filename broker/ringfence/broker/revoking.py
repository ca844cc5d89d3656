"""Takes back what was given: found, recorded, in force and on its way before whoever asked is answered."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from ringfence.broker import events
from ringfence.broker.audit.actor import present_actor
from ringfence.broker.audit.journal import SERVER, AuditLog
from ringfence.broker.audit.record import Event
from ringfence.broker.audit.transaction import recorded
from ringfence.broker.feed import Feed
from ringfence.broker.store import revocations
from ringfence.broker.store.engine import Store
from ringfence.broker.store.revocations import Document, Held
from ringfence.certs.authority import Authority, X509Authority
from ringfence.certs.crl import Crl, sign_crl
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.revocation import REASON_CODES, RevokedIdentity, RevokedSerial
from ringfence.certs.spiffe_id import SpiffeId

IDENTITY, SERIAL, NODE = "identity", "serial", "node"
_CODES = {IDENTITY: "privilegeWithdrawn", SERIAL: "keyCompromise", NODE: "keyCompromise"}
_MAX_WORDS = 256
_SERIAL = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Target:
    """What to take back: an identity or a node by its SPIFFE ID, one certificate by its serial."""

    kind: str
    subject: str


@dataclass(frozen=True, slots=True)
class Why:
    """Why, in an operator's words, by which code of RFC 5280 (empty: by the kind), and for an identity how long."""

    reason: str = ""
    code: str = ""
    until: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a target; `documents` are certificates that were revoked by it."""

    target: Target
    changed: bool
    documents: int


class Revoker:
    """What operators do, and what time does to it."""

    def __init__(
        self,
        store: Store,
        feed: Feed,
        authority: Authority,
        *,
        clock: Callable[[], datetime],
        audit: AuditLog | None = None,
    ) -> None:
        self.revoked = feed.revoked
        self._store = store
        self._feed = feed
        self._authority = authority
        self._clock = clock
        self._audit = audit
        self._one_at_a_time = asyncio.Lock()

    async def revoke(self, targets: Sequence[Target], why: Why, *, dry_run: bool = False) -> list[Outcome]:
        """All of *targets*, or none: raises INVALID, or NOT_FOUND for a serial that is not known."""
        # 1. Everything asked for makes sense.
        _check(why)
        for target in targets:
            _check_target(target)
        # 2. On disk before it is in force: a crash after this loses nothing. The call that asks for it is recorded.
        now, by = self._now(), present_actor() or SERVER

        def work(connection: Connection) -> tuple[list[Outcome], Held]:
            # Serials first: that of an identity or a node which is named beside it is not looked for in vain.
            ordered = sorted(targets, key=lambda target: target.kind != SERIAL)
            done = {target: self._one(connection, target, why, (now, by), dry_run=dry_run) for target in ordered}
            return [done[target] for target in targets], revocations.every(connection)

        if dry_run:
            return (await self._store.run(work))[0]
        outcomes, held = await self._store.run(work)
        # 3. In force here in the same turn of the loop: no request that was written down after this is signed.
        self.revoked.take(held)
        # 4. Told to agents and proxies.
        await self._feed.catch_up()
        for outcome in outcomes:
            if outcome.changed:
                events.revoked(outcome.target.kind, outcome.target.subject, outcome.documents, why.reason)
        # 5. The lists, for those who read nothing else.
        await self.make_lists()
        return outcomes

    async def lift(self, spiffe_ids: Sequence[str], *, dry_run: bool = False) -> list[Outcome]:
        """Give these identities again; certificates that were revoked with them stay revoked."""
        if dry_run:
            known = self.revoked.current.identities
            return [Outcome(Target(IDENTITY, name), name in known, 0) for name in spiffe_ids]
        done = await self._lifted(await self._store.run(revocations.lift, dict.fromkeys(spiffe_ids)))
        return [Outcome(Target(IDENTITY, name), name in done, 0) for name in spiffe_ids]

    async def _lift_by_itself(self, spiffe_ids: Sequence[str]) -> None:
        """The same for what was revoked until now; no call is there to be recorded."""
        done = await recorded(
            self._store,
            self._audit,
            lambda connection: revocations.lift(connection, dict.fromkeys(spiffe_ids)),
            lambda lifted: [Event("identity.lift", name) for name in lifted],
        )
        await self._lifted(done)

    async def _lifted(self, names: Collection[str]) -> Collection[str]:
        await self._feed.catch_up()
        for name in names:
            events.lifted(name)
        return names

    async def keep(self) -> None:
        """Forget what has ended, lift what was for a time, and make the lists again that are due."""
        now = self._now()
        serials, identities = self.revoked.current.ended(now)
        if identities:
            await self._lift_by_itself([one.spiffe_id for one in identities])
        if serials:
            await self._store.run(revocations.forget, now)
            await self._feed.catch_up()
        await self.make_lists()

    async def run(self) -> None:
        """Sign at once what another server of the store revoked of ours, until cancelled."""
        with self.revoked.bell.listen() as changed:
            while True:
                await changed.wait()
                changed.clear()
                try:
                    await self.make_lists()
                except RingfenceError as error:  # `keep` tries again
                    events.crl_failed("", error)

    async def make_lists(self) -> None:
        """Sign those of our authorities whose list says too little, too much, or not for long any more."""
        if not self.revoked.current.serials:
            return
        async with self._one_at_a_time:  # so that numbers only grow
            made = [crl for root in self._authority.x509.every() if (crl := self._list_of(root)) is not None]
            if made:
                await self._store.run(revocations.put_crls, made)
                await self._feed.catch_up()
        for crl in made:
            events.crl_signed(crl.authority, crl.number, len(crl.serials))

    def _list_of(self, root: X509Authority) -> Crl | None:
        now = self._clock()
        wanted = [one for one in self.revoked.current.serials.values() if one.authority == root.id]
        held = self.revoked.crls.get(root.id)
        if not wanted or (held is not None and not held.is_due(wanted, now)):
            return None
        try:
            return sign_crl(root, wanted, number=1 if held is None else held.number + 1, now=now)
        except RingfenceError as error:  # a key that was lost must not keep others from being told
            events.crl_failed(root.id, error)
            return None

    def _one(
        self, connection: Connection, target: Target, why: Why, when: tuple[int, str], *, dry_run: bool
    ) -> Outcome:
        (now, by), current = when, self.revoked.current
        found = _documents(connection, target, now)
        if target.kind == SERIAL and not found and target.subject not in current.serials:
            hint = (
                "Run `ringfence identity list --state live`; what has ended needs no revocation, and tokens have none"
            )
            raise RingfenceError(Kind.NOT_FOUND, f"there is no live X.509-SVID {target.subject}", hint=hint)
        identities = []
        if target.kind == IDENTITY:
            identities = [RevokedIdentity(target.subject, now, why.reason, by[:_MAX_WORDS], why.until)]
            known = current.identity(target.subject)
            if known is not None and (known.reason, known.until) == (why.reason, why.until):
                identities = []
        code = why.code or _CODES[target.kind]
        serials = [
            RevokedSerial(d.serial, d.spiffe_id, d.authority, d.node, d.not_after, now, code, why.reason) for d in found
        ]
        if not dry_run:
            revocations.revoke(connection, serials, identities)
        return Outcome(target, bool(serials or identities), len(serials))

    def _now(self) -> int:
        return int(self._clock().timestamp())


def _documents(connection: Connection, target: Target, now: int) -> list[Document]:
    match target.kind:
        case "identity":
            return revocations.documents(connection, now, spiffe_id=target.subject)
        case "node":
            return revocations.documents(connection, now, node=target.subject)
        case _:
            found = revocations.documents(connection, now, serial=target.subject)
    for document in found:
        _check_not_ours(SpiffeId.parse(document.spiffe_id))
    return found


def _check(why: Why) -> None:
    if why.code and why.code not in REASON_CODES:
        hint = f"One of {', '.join(REASON_CODES)}"
        raise RingfenceError(Kind.INVALID, f"there is no reason code {why.code!r}", hint=hint)
    check_reason(why.reason)


def check_reason(words: str) -> None:
    """Raise INVALID for an operator's *words* that are too many."""
    if len(words.encode()) > _MAX_WORDS:
        raise RingfenceError(Kind.INVALID, f"a reason has at most {_MAX_WORDS} bytes")


def _check_target(target: Target) -> None:
    if target.kind == SERIAL and not _SERIAL.fullmatch(target.subject):
        raise RingfenceError(
            Kind.INVALID,
            f"{target.subject[:64]!r} is no serial number: that is 32 hexadecimal digits, in lower case",
            hint="Run `ringfence identity list`",
        )
    if target.kind == IDENTITY:
        _check_not_ours(SpiffeId.parse(target.subject))


def _check_not_ours(spiffe_id: SpiffeId) -> None:
    """An agent or a server proves itself by a key that may be burnt: a new certificate for it would mend nothing."""
    if spiffe_id.is_reserved:
        raise RingfenceError(
            Kind.INVALID,
            f"{spiffe_id} is one of Ringfence's own identities",
            hint="Revoke a node with --node; renew a server's SVID with `ringfence server rotate`",
        )
