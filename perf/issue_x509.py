"""Time from a signing request to a signed and re-checked certificate, beside what its cryptography alone must cost."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from perf.figure import within_limit
from ringfence.certs.authority import Authority
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.profile import csr_public_key, new_csr
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

NAME = "issue_x509"
GOAL = 3.2
RUNS = 15
CALLS = 200  # a run, ours and the limit alternating, so that both meet the same machine


def _ours() -> Callable[[], object]:
    trust_domain, now = TrustDomain("example.org"), datetime.now(UTC)
    authority = Authority.create(trust_domain, MemoryKeys(), now=now)
    spiffe_id = SpiffeId(trust_domain, "/ns/team-a/sa/trainer")
    csr = new_csr(ec.generate_private_key(ec.SECP256R1()))
    ttl = timedelta(hours=1)
    return lambda: authority.issue_x509(spiffe_id, csr_public_key(csr), now=now, ttl=ttl)


def _limit() -> Callable[[], object]:
    key, message, ecdsa = ec.generate_private_key(ec.SECP256R1()), b"x" * 400, ec.ECDSA(hashes.SHA256())
    public_key, signature = key.public_key(), key.sign(message, ecdsa)

    def once() -> None:
        public_key.verify(signature, message, ecdsa)
        key.sign(message, ecdsa)

    return once


def _run(ours: Callable[[], object], limit: Callable[[], object]) -> tuple[float, float]:
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(CALLS):
        for column, call in zip(spent, (ours, limit), strict=True):
            started = perf_counter()
            call()
            column.append(perf_counter() - started)
    # The median of single calls: one that the scheduler interrupted says nothing of either.
    return statistics.median(spent[0]) * 1e6, statistics.median(spent[1]) * 1e6


def measure() -> dict[str, Any]:
    """The figure `issue_x509`."""
    ours, limit = _ours(), _limit()
    _run(ours, limit)  # warms both
    pairs = [_run(ours, limit) for _ in range(RUNS)]
    return within_limit(
        NAME,
        "CSR to signed and re-checked DER, in process, one core",
        pairs,
        unit="us",
        limit="one P-256 verify and one sign by cryptography",
        goal=GOAL,
    )
