"""Node attestation by a certificate: the node holds the key of one that a configured authority issued.

Two modes. With authorities alone, a certificate of any of them is a node's, known by its fingerprint. In SPIFFE mode it
is an X.509-SVID of another trust domain below a given path, known by its SPIFFE ID, which outlives the certificate.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from datetime import datetime

from cryptography.hazmat.primitives.serialization import Encoding

from ringfence.broker.attest.node_port import NONCE_BYTES, Evidence, Proven
from ringfence.broker.attest.roots import Roots
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.possession import Possession, Possessor, challenge, prove
from ringfence.certs.selectors import Selector
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.certs.svid import verify_peer

ATTESTOR = "x509pop"


class X509PopAttestor:
    """Believes certificates of *roots* (a NodeAttestor); with *below*, X.509-SVIDs at or below that SPIFFE ID only.

    *roots* is called for each proof, in a thread: it may read files.
    """

    name = ATTESTOR
    can_reattest = True

    def __init__(
        self,
        trust_domain: TrustDomain,
        roots: Callable[[], Roots],
        *,
        below: SpiffeId | None = None,
        clock: Callable[[], datetime],
    ) -> None:
        if below is not None and below.trust_domain == trust_domain:
            raise RingfenceError(
                Kind.INVALID,
                f"{below} is of this server's own trust domain, so that every workload could become a node",
                hint="Name another trust domain with --x509pop-spiffe",
            )
        self._trust_domain = trust_domain
        self._roots = roots
        self._below = below
        self._clock = clock

    async def prove(self, evidence: Evidence) -> Proven:
        """Who holds the key; raises UNAUTHENTICATED."""
        # 1. A nonce was asked for on this connection, and not used before.
        if len(evidence.nonce) != NONCE_BYTES:
            raise RingfenceError(Kind.UNAUTHENTICATED, "no challenge was asked for on this connection")
        # 2. The key of a certificate of ours signed it, for us and for this request.
        shown = Possession(tuple(evidence.given.chain), evidence.given.signature)
        data = challenge(self._trust_domain, evidence.nonce, evidence.csr)
        roots = await asyncio.to_thread(self._roots)
        found = prove(shown, data, roots, now=self._clock())
        # 3. In SPIFFE mode the certificate is an SVID of the nodes' part of that trust domain.
        if self._below is None:
            return Proven(found.fingerprint, _selectors(found))
        return self._proven_by_svid(found, shown, self._below, roots)

    def _proven_by_svid(self, found: Possessor, shown: Possession, below: SpiffeId, roots: Roots) -> Proven:
        bundle = SpiffeBundle(below.trust_domain, tuple(root.public_bytes(Encoding.DER) for root in roots))
        spiffe_id = verify_peer(shown.chain, bundle, now=self._clock())
        if spiffe_id.path != below.path and not spiffe_id.path.startswith(f"{below.path}/"):
            raise RingfenceError(Kind.UNAUTHENTICATED, f"{spiffe_id} is not below {below}")
        name = hashlib.sha256(str(spiffe_id).encode()).hexdigest()
        return Proven(name, _selectors(found, spiffe_id))


def _selectors(found: Possessor, spiffe_id: SpiffeId | None = None) -> tuple[Selector, ...]:
    facts = [f"ca:fingerprint:{authority}" for authority in found.authorities]
    if found.common_name:
        facts.append(f"subject:cn:{found.common_name}")
    if spiffe_id is not None:
        facts.append(f"spiffe_id:{spiffe_id}")
    return tuple(sorted(Selector(ATTESTOR, fact) for fact in facts))
