"""X509-SVIDs in batches: each is drafted and checked, then all are recorded, signed, checked and recorded again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from time import perf_counter

from cryptography.hazmat.primitives.asymmetric import ec

from ringfence.broker import events, metrics
from ringfence.broker.audit.issuing import Refusal
from ringfence.broker.entry import Entry
from ringfence.broker.issuance.grants import X509, Grants
from ringfence.broker.issuance.records import Records
from ringfence.broker.job import Job, about
from ringfence.broker.signing.port import Signing
from ringfence.broker.telemetry.names import ISSUE
from ringfence.broker.telemetry.spans import span
from ringfence.certs.attempt import attempt
from ringfence.certs.authority import Authority, X509Authority
from ringfence.certs.errors import RingfenceError
from ringfence.certs.profile import LeafDraft
from ringfence.certs.spiffe_id import SpiffeId


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


class Certificates:
    """What `prepare` lets through is signed by `sign`, and nothing else."""

    def __init__(
        self,
        authority: Authority,
        signing: Signing,
        grants: Grants,
        records: Records,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._authority = authority
        self._signing = signing
        self._grants = grants
        self._records = records
        self._clock = clock

    async def prepare(self, agent: SpiffeId, wanted: Sequence[Wanted]) -> list[Job | Answer]:
        """A job for each of *wanted* that is granted and whose key is proven, in order; for the others why not."""
        # 1. Only the agent's own entries.
        granted = [attempt(lambda item: self._grants.entry(agent, item.entry_id), item) for item in wanted]
        # 2. Only the key of the request, and none is looked at that is for nothing.
        asked = [item.csr for item, entry in zip(wanted, granted, strict=True) if isinstance(entry, Entry)]
        keys = iter(await self._signing.keys(asked))
        # 3. Draft and check.
        return [self._drafted(agent, item.entry_id, entry, keys) for item, entry in zip(wanted, granted, strict=True)]

    def draft(
        self,
        spiffe_id: SpiffeId,
        key: ec.EllipticCurvePublicKey,
        ttl: timedelta,
        *,
        dns_names: tuple[str, ...] = (),
        ip_addresses: tuple[IPv4Address | IPv6Address, ...] = (),
    ) -> LeafDraft:
        """A checked draft; raises INVALID, DENIED, UNAVAILABLE."""
        return self._authority.draft_x509(
            spiffe_id, key, now=self._clock(), ttl=ttl, dns_names=dns_names, ip_addresses=ip_addresses
        )

    async def sign(self, agent_id: str, jobs: Sequence[Job], refused: Sequence[Refusal] = ()) -> dict[str, Answer]:
        """What became of each of *jobs*, by its serial; *refused* goes on record with them."""
        if not jobs:
            await self._records.close(X509, agent_id, [], refused)
            return {}
        # The root by which they were drafted signs them, even if it is replaced while the disk is waited for.
        root = self._authority.current.x509
        # 1. Record the intents, durable before anything is signed.
        by = root.subject_key_id
        await self._records.intend([job.intent(agent_id, by) for job in jobs])
        # 2. Sign; the authority checks the draft before and the certificate after.
        with span(ISSUE, about(jobs)):
            answers = await self._signed(jobs, root)
        # 3. Record what was signed, durable before it is delivered; what failed keeps its open intent.
        signed = [job.issued for job in jobs if answers[job.serial].refused is None]
        failed = [(answer.entry_id, answer.refused) for answer in answers.values() if answer.refused is not None]
        await self._records.close(X509, agent_id, signed, refused, failed)
        return answers

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
            ttl = self._grants.life(entry, X509)
            return Job.of(entry_id, self.draft(entry.spiffe_id, key, ttl, dns_names=entry.dns_names))
        except RingfenceError as error:
            return _refused(agent, entry_id, error)

    async def _signed(self, jobs: Sequence[Job], root: X509Authority) -> dict[str, Answer]:
        # Of an identity that was revoked before the intents were on disk nothing is signed, and who revokes one later
        # finds them there.
        allowed = [attempt(self._still_allowed, job) for job in jobs]
        made = iter(await self._made([job for job in allowed if isinstance(job, Job)], root))
        return {
            job.serial: self._answer(job, one if isinstance(one, RingfenceError) else next(made), root)
            for job, one in zip(jobs, allowed, strict=True)
        }

    def _still_allowed(self, job: Job) -> Job:
        self._grants.check(job.draft.spiffe_id)
        return job

    async def _made(self, jobs: Sequence[Job], root: X509Authority) -> list[bytes | RingfenceError]:
        begun = perf_counter()
        made = await self._signing.sign(root, [job.draft for job in jobs])
        if jobs:
            metrics.SIGN_SECONDS.observe((perf_counter() - begun) / len(jobs))
        return made

    def _answer(self, job: Job, leaf: bytes | RingfenceError, root: X509Authority) -> Answer:
        if isinstance(leaf, RingfenceError):
            return _refused(job.draft.spiffe_id, job.entry_id, leaf)
        return Answer(job.entry_id, (leaf, *root.chain))


def _refused(whose: SpiffeId, entry_id: str, error: RingfenceError) -> Answer:
    events.refused(X509, whose, error)
    return Answer(entry_id, refused=error)
