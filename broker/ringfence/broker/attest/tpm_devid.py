"""Node attestation by a DevID certificate whose key lives in a TPM that its maker vouches for. It takes two rounds."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.attest.node_port import NONCE_BYTES, Asked, Evidence, Proven
from ringfence.broker.attest.roots import Roots
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.possession import challenge
from ringfence.certs.selectors import Selector
from ringfence.certs.shown import common_name, fingerprint
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.certs.tpm.credential import SECRET_BYTES, make_credential
from ringfence.certs.tpm.residency import Residency, Resident, reside

ATTESTOR = "tpm_devid"
_PATIENCE = timedelta(minutes=2)  # for a TPM to open what was sent: some take seconds to make a key
_HINT = "Check what --tpm-devid-cert and --tpm-tcti name, and the server's --tpm-devid-ca and --tpm-ek-ca"


@dataclass(frozen=True, slots=True)
class _Claim:
    """Who the first round was about, and what the second has to show."""

    proven: Proven
    secret: bytes = field(repr=False)
    csr: bytes = field(repr=False)
    until: datetime


class TpmDevidAttestor:
    """Believes DevID certificates of *devid_roots* in TPMs of *endorsement_roots* (a NodeAttestor).

    Both are called for each first round, in a thread: they may read files.
    """

    name = ATTESTOR
    can_reattest = True

    def __init__(
        self,
        trust_domain: TrustDomain,
        devid_roots: Callable[[], Roots],
        endorsement_roots: Callable[[], Roots],
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._trust_domain = trust_domain
        self._devid_roots = devid_roots
        self._endorsement_roots = endorsement_roots
        self._clock = clock

    async def prove(self, evidence: Evidence) -> Proven | Asked:
        """In the first round a credential for that TPM, in the second who it is; raises UNAUTHENTICATED."""
        if evidence.given.secret:
            return self._opened(evidence)
        return await asyncio.to_thread(self._claimed, evidence)

    def _claimed(self, evidence: Evidence) -> Asked:
        # 1. A nonce was asked for on this connection, and not used before.
        if len(evidence.nonce) != NONCE_BYTES:
            raise _refused("no challenge was asked for on this connection")
        # 2. All of the proof but its last step: the steps are in `reside`.
        data = challenge(self._trust_domain, evidence.nonce, evidence.csr, attestor=ATTESTOR)
        now = self._clock()
        roots = (self._devid_roots(), self._endorsement_roots())
        try:
            resident = reside(_shown(evidence.given), data, *roots, now=now)
        except RingfenceError as error:
            raise _refused(error.detail, error.hint or _HINT) from None
        # 3. A secret for that TPM, if it has the attestation key whose word was taken. It stays here in the clear.
        secret = secrets.token_bytes(SECRET_BYTES)
        made = make_credential(resident.endorsement, resident.attestation, secret)
        credential = pb.TpmCredential(id_object=made.id_object, encrypted_secret=made.encrypted_secret)
        claim = _Claim(_proven(resident), secret, evidence.csr, now + _PATIENCE)
        return Asked(pb.AttestResponse(tpm_credential=credential), claim)

    def _opened(self, evidence: Evidence) -> Proven:
        # 4. The call before on this connection was such a claim, for this very request, and not long ago.
        claim = evidence.pending
        if not isinstance(claim, _Claim):
            raise _refused("no credential was made on this connection")
        if claim.csr != evidence.csr:
            raise _refused("the credential was made for another request")
        if self._clock() > claim.until:
            raise _refused("the credential was opened too late")
        # 5. The TPM opened it: both keys are in it, so what the attestation key said is true.
        if not hmac.compare_digest(evidence.given.secret, claim.secret):
            raise _refused("the TPM of the endorsement certificate did not open the credential")
        return claim.proven


def _shown(given: Any) -> Residency:
    return Residency(
        chain=tuple(given.chain),
        devid=given.devid,
        signature=given.signature,
        endorsement_certificate=given.endorsement_certificate,
        endorsement=given.endorsement,
        attestation=given.attestation,
        certification=given.certification,
        certification_signature=given.certification_signature,
    )


def _proven(resident: Resident) -> Proven:
    """As SPIRE names it, but for SHA-256 where that has SHA-1."""
    facts = [f"ca:fingerprint:{fingerprint(authority)}" for authority in resident.authorities]
    names = {"subject": common_name(resident.leaf.subject), "issuer": common_name(resident.leaf.issuer)}
    facts += [f"{whose}:cn:{name}" for whose, name in names.items() if name]
    return Proven(fingerprint(resident.leaf), tuple(sorted(Selector(ATTESTOR, fact) for fact in facts)))


def _refused(detail: str, hint: str = _HINT) -> RingfenceError:
    return RingfenceError(Kind.UNAUTHENTICATED, detail, hint=hint)
