"""SVIDs a second by one signer process and by two, beside what a second process that only computes brings."""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvloop
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from perf.figure import figure
from ringfence.broker.keys.choice import DISK, Unlocked
from ringfence.broker.signing.pool import Signers
from ringfence.certs.authority import Authority
from ringfence.certs.profile import LeafDraft, new_csr
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

NAME = "issue_scale"
GOAL = 1.7
BATCH = 50
BATCHES = 60  # a run
UNDER_WAY = 6  # batches at a time, so that no signer waits for its next one
RUNS = 5
_DOMAIN = TrustDomain("example.org")
_LIMIT_CALLS = 8_000  # a process: long beside the start of one


def _compute(calls: int) -> None:
    """What a signer cannot do without, and nothing else."""
    key, message, ecdsa = ec.generate_private_key(ec.SECP256R1()), b"x" * 400, ec.ECDSA(hashes.SHA256())
    public_key, signature = key.public_key(), key.sign(message, ecdsa)
    for _ in range(calls):
        public_key.verify(signature, message, ecdsa)
        key.sign(message, ecdsa)


def _rate_of_limit(processes: int) -> float:
    """Verifications and signatures a second by so many processes."""
    context = multiprocessing.get_context("fork")
    begun = time.perf_counter()
    running = [context.Process(target=_compute, args=(_LIMIT_CALLS,)) for _ in range(processes)]
    for process in running:
        process.start()
    for process in running:
        process.join()
    return processes * _LIMIT_CALLS / (time.perf_counter() - begun)


async def _batch(
    signers: Signers, authority: Authority, requests: Sequence[bytes], drafts: Sequence[LeafDraft]
) -> None:
    proven = await signers.keys(requests)
    made = await signers.sign(authority.x509.current, drafts)
    if any(isinstance(each, Exception) for each in (*proven, *made)):
        raise RuntimeError("an SVID was refused")


async def _rate(signers: Signers, authority: Authority, requests: list[bytes], drafts: list[LeafDraft]) -> float:
    """SVIDs a second, proven, signed, checked and compared."""
    left = iter(range(BATCHES))

    async def keep_asking() -> None:
        for _ in left:
            await _batch(signers, authority, requests, drafts)

    begun = time.perf_counter()
    await asyncio.gather(*(keep_asking() for _ in range(UNDER_WAY)))
    return BATCH * BATCHES / (time.perf_counter() - begun)


async def _measure(folder: Path) -> list[tuple[float, float, float, float]]:
    """A run: SVIDs a second with one and two signers, and the limit's rates with one and two processes."""
    unlocked, now = Unlocked(DISK, folder / "keys"), datetime.now(UTC)
    authority, spiffe_id = Authority.create(_DOMAIN, unlocked.open(), now=now), SpiffeId(_DOMAIN, "/ns/perf/sa/w")
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(BATCH)]
    requests = [new_csr(key) for key in keys]
    ttl = timedelta(hours=1)
    drafts = [authority.draft_x509(spiffe_id, key.public_key(), now=now, ttl=ttl) for key in keys]
    crews = [Signers(count, _DOMAIN, unlocked) for count in (1, 2)]
    try:
        for signers in crews:
            await signers.start()
            await _rate(signers, authority, requests, drafts)  # warms it
        runs = []
        for _ in range(RUNS):
            one, two = [await _rate(signers, authority, requests, drafts) for signers in crews]
            runs.append((one, two, _rate_of_limit(1), _rate_of_limit(2)))
        return runs
    finally:
        await asyncio.gather(*(signers.close() for signers in crews))


def measure() -> dict[str, Any]:
    """The figure `issue_scale`."""
    with TemporaryDirectory(prefix="ringfence-perf-") as name:
        runs = uvloop.run(_measure(Path(name)))  # the loop of a server, whose part is played here
    ratios = sorted(two / one for one, two, _, _ in runs)
    one, two = (statistics.median(column) for column in list(zip(*runs, strict=True))[:2])
    limit = statistics.median(many / single for _, _, single, many in runs)
    value = statistics.median(ratios)
    return figure(
        NAME,
        f"two signer processes over one, {one:,.0f} and {two:,.0f} SVIDs a second: request proven, draft "
        "checked, signed, read back and compared; whoever asks and compares shares the cores with the signers",
        value,
        unit="x",
        runs=ratios,
        limit=("two processes over one that only verify and sign", limit),
        ratio=value / limit,
        goal=f">= {GOAL}x",
        met=value >= GOAL,
    )
