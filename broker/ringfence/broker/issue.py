"""Issuing: authorise, draft, check, record the intent, sign, check, record, deliver, in that order and no other."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from time import perf_counter

from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import Connection

from ringfence.broker import events, metrics
from ringfence.broker.audit.issuing import Issued, Refusal, batch
from ringfence.broker.audit.journal import AuditLog
from ringfence.broker.audit.transaction import recorded
from ringfence.broker.entry import DEFAULT_JWT_TTL, DEFAULT_X509_TTL, Entry
from ringfence.broker.job import Job, about
from ringfence.broker.registry import Registry
from ringfence.broker.revoked import Revoked
from ringfence.broker.signing.port import Here, Signing
from ringfence.broker.store import ledger
from ringfence.broker.store.engine import Store
from ringfence.broker.store.ledger import Issuance
from ringfence.broker.store.ledger import Refusal as Refused
from ringfence.broker.telemetry.names import ENTRY, ISSUE, SPIFFE_ID
from ringfence.broker.telemetry.spans import span
from ringfence.certs.attempt import attempt
from ringfence.certs.authority import Authority, X509Authority
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.profile import LeafDraft, csr_public_key
from ringfence.certs.spiffe_id import SpiffeId

MAX_BATCH = 500  # SVIDs a request, as SPIRE's agents ask

_Sign = Callable[[Entry, datetime, timedelta, str], tuple[str, datetime]]  # the token and its end; last: its serial


@dataclass(frozen=True, slots=True)
class Wanted:
    """One SVID that an agent asks for: by entry, for the key that signed the request."""

    entry_id: str
    csr: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one `Wanted`: a chain (DER, leaf first, root left out), or why not."""

    entry_id: str
    chain: tuple[bytes, ...] = ()
    refused: RingfenceError | None = None


class Issuer:
    """Signs for agents what the registry says they may have, and Ringfence's own identities."""

    def __init__(
        self,
        authority: Authority,
        registry: Registry,
        store: Store,
        *,
        clock: Callable[[], datetime],
        jwt_issuer: str = "",
        audit: AuditLog | None = None,
        revoked: Revoked | None = None,
        signing: Signing | None = None,
    ) -> None:
        self._revoked = Revoked() if revoked is None else revoked
        self._authority = authority
        self._registry = registry
        self._store = store
        self._clock = clock
        self._jwt_issuer = jwt_issuer
        self._audit = audit
        self._signing: Signing = Here() if signing is None else signing

    async def workload_svids(self, agent: SpiffeId, wanted: Sequence[Wanted]) -> list[Answer]:
        """One answer for each of *wanted*, in order; one that is refused does not spoil the others.

        Raises INVALID for more than 500, and what the store raises: then nothing was signed.
        """
        if len(wanted) > MAX_BATCH:
            raise RingfenceError(Kind.INVALID, f"{len(wanted)} SVIDs in one request; at most {MAX_BATCH}")
        # 1. Authorise, draft and check each: only the agent's own entries, only the key of the request.
        prepared = await self._prepare(agent, wanted)
        jobs = [job for job in prepared if isinstance(job, Job)]
        # 2. Record, sign, check and record again, the batch at once.
        refused = [
            (answer.entry_id, answer.refused) for answer in prepared if isinstance(answer, Answer) and answer.refused
        ]
        chains = await self._sign(str(agent), jobs, refused)
        # 3. Deliver in the order asked.
        return [job if isinstance(job, Answer) else chains[job.serial] for job in prepared]

    async def own_svid(
        self,
        spiffe_id: SpiffeId,
        public_key: ec.EllipticCurvePublicKey,
        *,
        ttl: int = DEFAULT_X509_TTL,
        dns_names: tuple[str, ...] = (),
        ip_addresses: tuple[IPv4Address | IPv6Address, ...] = (),
        on_draft: Callable[[LeafDraft], None] = lambda _: None,
    ) -> tuple[bytes, ...]:
        """The chain of the server or of an agent, which no entry grants: the caller has authorised it."""
        draft = self._draft(
            spiffe_id, public_key, timedelta(seconds=ttl), dns_names=dns_names, ip_addresses=ip_addresses
        )
        on_draft(draft)
        job = Job.of("", draft)
        answer = (await self._sign(str(spiffe_id), [job]))[job.serial]
        if answer.refused is not None:
            raise answer.refused
        return answer.chain

    async def jwt_svid(self, agent: SpiffeId, entry_id: str, audience: Sequence[str]) -> tuple[str, datetime]:
        """A token for one entry and when it ends; raises DENIED, INVALID or what the store raises."""

        def begin() -> tuple[str, _Sign]:
            _check_audience(audience)
            return self._authority.current.jwt.kid, sign

        def sign(entry: Entry, now: datetime, ttl: timedelta, serial: str) -> tuple[str, datetime]:
            token_id = serial if entry.jwt_jti else ""  # by which the ledger knows it
            return self._authority.issue_jwt(
                entry.spiffe_id, tuple(audience), now=now, ttl=ttl, issuer=self._jwt_issuer, token_id=token_id
            )

        return await self._token("jwt", agent, entry_id, begin)

    async def wit_svid(self, agent: SpiffeId, entry_id: str, csr: bytes) -> tuple[str, datetime]:
        """A token for one entry, bound to the key that signed *csr*; it lives as long as an X509-SVID of the entry.

        Raises UNIMPLEMENTED without the feature, and what `jwt_svid` raises.
        """
        self._authority.wit_key()
        from ringfence.certs.wit_svid import issue_wit  # most servers sign none

        def begin() -> tuple[str, _Sign]:
            key = csr_public_key(csr)

            def sign(entry: Entry, now: datetime, ttl: timedelta, serial: str) -> tuple[str, datetime]:
                return issue_wit(self._authority, entry.spiffe_id, key, now=now, ttl=ttl, token_id=serial)

            return self._authority.wit_key().kid, sign

        return await self._token("wit", agent, entry_id, begin)

    async def _token(
        self, kind: str, agent: SpiffeId, entry_id: str, begin: Callable[[], tuple[str, _Sign]]
    ) -> tuple[str, datetime]:
        """A token of *kind*; *begin* checks what was asked for, and gives the id of the key that signs and how."""
        # 1. Authorise.
        try:
            entry = self._granted(agent, entry_id)
            kid, sign = begin()
        except RingfenceError as error:
            await self._close(kind, str(agent), [], [(entry_id, error)])
            raise
        with span(ISSUE, {SPIFFE_ID: str(entry.spiffe_id), ENTRY: entry.id}):
            # 2. Record the intent.
            now = self._clock()
            ttl = self._life(entry, _seconds(kind, entry))
            job = secrets.token_hex(16)
            trace = Issuance(job, kind, str(entry.spiffe_id), entry.id, str(agent), kid, int((now + ttl).timestamp()))
            await self._store.run(ledger.intend, [trace], int(now.timestamp()))
            # 3. Sign, unless it was revoked meanwhile.
            self._revoked.check(entry.spiffe_id)
            token, expires_at = sign(entry, now, ttl, job)
            # 4. Record, then deliver.
            done = [(job, str(entry.spiffe_id), entry.id)]
            await self._close(kind, str(agent), done, [])
            events.issued(kind, str(agent), done)
            return token, expires_at

    async def _prepare(self, agent: SpiffeId, wanted: Sequence[Wanted]) -> list[Job | Answer]:
        granted = [attempt(lambda item: self._granted(agent, item.entry_id), item) for item in wanted]
        proven = iter(
            await self._signing.keys(
                [item.csr for item, entry in zip(wanted, granted, strict=True) if isinstance(entry, Entry)]
            )
        )
        return [self._drafted(agent, item.entry_id, entry, proven) for item, entry in zip(wanted, granted, strict=True)]

    def _drafted(
        self,
        agent: SpiffeId,
        entry_id: str,
        entry: Entry | RingfenceError,
        keys: Iterator[ec.EllipticCurvePublicKey | RingfenceError],
    ) -> Job | Answer:
        """The job for what was granted and its key, the next of *keys*; an answer for what is refused."""
        try:
            if isinstance(entry, RingfenceError):
                raise entry
            key = next(keys)
            if isinstance(key, RingfenceError):
                raise key
            ttl = self._life(entry, _seconds("x509", entry))
            return Job.of(entry_id, self._draft(entry.spiffe_id, key, ttl, dns_names=entry.dns_names))
        except RingfenceError as error:
            events.refused("x509", agent, error)
            return Answer(entry_id, refused=error)

    def _granted(self, agent: SpiffeId, wanted: str) -> Entry:
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
        self._revoked.check(entry.spiffe_id)
        return entry

    def _life(self, entry: Entry, seconds: int) -> timedelta:
        """The life of a document: *seconds*, and no longer than its entry's."""
        life = timedelta(seconds=seconds)
        if not entry.expires_at:
            return life
        return min(life, datetime.fromtimestamp(entry.expires_at, UTC) - self._clock())

    def _draft(
        self,
        spiffe_id: SpiffeId,
        key: ec.EllipticCurvePublicKey,
        ttl: timedelta,
        *,
        dns_names: tuple[str, ...],
        ip_addresses: tuple[IPv4Address | IPv6Address, ...] = (),
    ) -> LeafDraft:
        return self._authority.draft_x509(
            spiffe_id, key, now=self._clock(), ttl=ttl, dns_names=dns_names, ip_addresses=ip_addresses
        )

    async def _sign(self, agent_id: str, jobs: Sequence[Job], refused: Sequence[Refusal] = ()) -> dict[str, Answer]:
        if not jobs:
            await self._close("x509", agent_id, [], refused)
            return {}
        # The root by which they were drafted signs them, even if it is replaced while the disk is waited for.
        root = self._authority.current.x509
        # 1. Record the intents, durable before anything is signed.
        by = root.subject_key_id
        traces = [job.intent(agent_id, by) for job in jobs]
        await self._store.run(ledger.intend, traces, int(self._clock().timestamp()))
        # 2. Sign; the authority checks the draft before and the certificate after. Of an identity that was revoked
        # before the intents were on disk nothing is signed, and who revokes one later finds them there.
        answers = {job.serial: Answer(job.entry_id, refused=error) for job in jobs if (error := self._withheld(job))}
        with span(ISSUE, about(jobs)):
            answers |= await self._signed([job for job in jobs if job.serial not in answers], root)
        # 3. Record what was signed, durable before it is delivered; what failed keeps its open intent.
        signed = [job.issued for job in jobs if answers[job.serial].refused is None]
        failed = [(answer.entry_id, answer.refused) for answer in answers.values() if answer.refused is not None]
        await self._close("x509", agent_id, signed, refused, failed)
        events.issued("x509", agent_id, signed)
        return answers

    async def _close(
        self,
        kind: str,
        agent_id: str,
        signed: Sequence[Issued],
        refused: Sequence[Refusal],
        failed: Sequence[Refusal] = (),
    ) -> None:
        """Record how a batch ended, in the ledger and the audit log at once; *failed* have their open intents."""
        now = int(self._clock().timestamp())
        refusals = [self._refusal(kind, agent_id, entry_id, error) for entry_id, error in refused]

        def close(connection: Connection) -> None:
            ledger.issued(connection, [serial for serial, _, _ in signed])
            ledger.refuse(connection, refusals, now)

        await recorded(self._store, self._audit, close, lambda _: batch(kind, agent_id, signed, [*refused, *failed]))

    def _refusal(self, kind: str, agent_id: str, asked: str, error: RingfenceError) -> Refused:
        """The refusal as the ledger keeps it: an entry that nobody knows is one and the same, whatever it is called."""
        entry = self._registry.get(asked.partition("#")[0])
        entry_id, spiffe_id = ("", "") if entry is None else (entry.id, entry.name)
        return Refused(kind, spiffe_id, entry_id, agent_id, error.kind.value, error.detail)

    def _withheld(self, job: Job) -> RingfenceError | None:
        """Why nothing is signed for *job*, if its identity was revoked meanwhile."""
        try:
            self._revoked.check(job.draft.spiffe_id)
        except RingfenceError as error:
            events.refused("x509", job.draft.spiffe_id, error)
            return error
        return None

    async def _signed(self, jobs: Sequence[Job], root: X509Authority) -> dict[str, Answer]:
        """What became of each of *jobs*, by its serial."""
        begun = perf_counter()
        made = await self._signing.sign(root, [job.draft for job in jobs])
        if jobs:
            metrics.SIGN_SECONDS.observe((perf_counter() - begun) / len(jobs))
        answers: dict[str, Answer] = {}
        for job, leaf in zip(jobs, made, strict=True):
            if isinstance(leaf, RingfenceError):
                events.refused("x509", job.draft.spiffe_id, leaf)
                answers[job.serial] = Answer(job.entry_id, refused=leaf)
            else:
                answers[job.serial] = Answer(job.entry_id, (leaf, *root.chain))
        return answers


def _seconds(kind: str, entry: Entry) -> int:
    """How long a document of *kind* lives by its entry."""
    return entry.jwt_ttl or DEFAULT_JWT_TTL if kind == "jwt" else entry.x509_ttl or DEFAULT_X509_TTL


def _check_audience(audience: Sequence[str]) -> None:
    if not audience or not all(audience):
        raise RingfenceError(Kind.INVALID, "a JWT-SVID needs an audience", hint="Name who is to accept it")
