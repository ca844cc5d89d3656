"""The issuer: what agents, and Ringfence itself, ask for; each step of it is a module of `issuance`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address

from cryptography.hazmat.primitives.asymmetric import ec

from ringfence.broker.audit.journal import AuditLog
from ringfence.broker.entry import DEFAULT_X509_TTL
from ringfence.broker.issuance.certificates import Answer, Certificates, Wanted
from ringfence.broker.issuance.grants import Grants
from ringfence.broker.issuance.records import Records
from ringfence.broker.issuance.tokens import Tokens
from ringfence.broker.job import Job
from ringfence.broker.registry import Registry
from ringfence.broker.revoked import Revoked
from ringfence.broker.signing.port import Here, Signing
from ringfence.broker.store.engine import Store
from ringfence.certs.authority import Authority
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.profile import LeafDraft
from ringfence.certs.spiffe_id import SpiffeId

__all__ = ["MAX_BATCH", "Answer", "Issuer", "Wanted"]

MAX_BATCH = 500  # SVIDs a request, as SPIRE's agents ask


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
        grants = Grants(registry, Revoked() if revoked is None else revoked, clock)
        records = Records(store, audit, registry, clock)
        by: Signing = Here() if signing is None else signing
        self._certificates = Certificates(authority, by, grants, records, clock=clock)
        self._tokens = Tokens(authority, grants, records, clock=clock, jwt_issuer=jwt_issuer)

    async def workload_svids(self, agent: SpiffeId, wanted: Sequence[Wanted]) -> list[Answer]:
        """One answer for each of *wanted*, in order; one that is refused does not spoil the others.

        Raises INVALID for more than 500, and what the store raises: then nothing was signed.
        """
        if len(wanted) > MAX_BATCH:
            raise RingfenceError(Kind.INVALID, f"{len(wanted)} SVIDs in one request; at most {MAX_BATCH}")
        # 1. Authorise, draft and check each: only the agent's own entries, only the key of the request.
        prepared = await self._certificates.prepare(agent, wanted)
        jobs = [job for job in prepared if isinstance(job, Job)]
        refused = [(one.entry_id, one.refused) for one in prepared if isinstance(one, Answer) and one.refused]
        # 2. Record, sign, check and record again, the batch at once.
        answers = await self._certificates.sign(str(agent), jobs, refused)
        # 3. Deliver in the order asked.
        return [one if isinstance(one, Answer) else answers[one.serial] for one in prepared]

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
        draft = self._certificates.draft(
            spiffe_id, public_key, timedelta(seconds=ttl), dns_names=dns_names, ip_addresses=ip_addresses
        )
        on_draft(draft)
        job = Job.of("", draft)
        answer = (await self._certificates.sign(str(spiffe_id), [job]))[job.serial]
        if answer.refused is not None:
            raise answer.refused
        return answer.chain

    async def jwt_svid(self, agent: SpiffeId, entry_id: str, audience: Sequence[str]) -> tuple[str, datetime]:
        """A token for one entry and when it ends; raises DENIED, INVALID or what the store raises."""
        return await self._tokens.jwt(agent, entry_id, audience)

    async def wit_svid(self, agent: SpiffeId, entry_id: str, csr: bytes) -> tuple[str, datetime]:
        """A token for one entry, bound to the key that signed *csr*; it lives as long as an X509-SVID of the entry.

        Raises UNIMPLEMENTED without the feature, and what `jwt_svid` raises.
        """
        return await self._tokens.wit(agent, entry_id, csr)
