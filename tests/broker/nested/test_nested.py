"""Servers below each other: one trust domain, one bundle, whatever rotates where."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.run.identity import split_der
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.jwt_svid import validate_jwt
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.certs.svid import verify_peer
from ringfence.proto import workload
from tests.broker.agent.harness import HEADER, OWN_UID, first_svids, workload_client
from tests.broker.nested.tiers import Tier, tier
from tests.broker.server.harness import TRUST_DOMAIN

TRAINER = "spiffe://example.org/ns/team-a/sa/trainer"


def now() -> datetime:
    """Servers here have the real clock."""
    return datetime.now(UTC)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what is pushed."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110  # what it waits for tells nobody
            await asyncio.sleep(0.01)


async def trainer_at(one: Tier) -> tuple[list[bytes], str]:
    """The chain and a token of a workload at the agent of *one*."""
    answer = await first_svids(one.agent.socket)
    svid = next(svid for svid in answer.svids if svid.spiffe_id == TRAINER)
    async with workload_client(one.agent.socket) as client:
        asked = workload.JWTSVIDRequest(audience=["hub"], spiffe_id=TRAINER)
        token = (await client.FetchJWTSVID(asked, metadata=HEADER, timeout=30)).svids[0].svid
    return split_der(svid.x509_svid), token


def verifies(chain: list[bytes], token: str, bundle: SpiffeBundle) -> bool:
    """Whether both are believed under *bundle*."""
    wanted = SpiffeId.parse(TRAINER)
    same = verify_peer(chain, bundle, now=now()) == wanted
    return same and validate_jwt(token, "hub", {TRUST_DOMAIN: bundle}, now=now()).spiffe_id == wanted


def bundles_of(tiers: list[Tier]) -> list[tuple[frozenset[bytes], frozenset[str]]]:
    """What each publishes: roots and names of keys."""
    bundles = [one.server.parts.trust.bundle for one in tiers]
    return [(frozenset(each.x509_authorities), frozenset(each.jwt_authorities)) for each in bundles]


async def three(tmp_path: Path, stack: AsyncExitStack) -> list[Tier]:
    """Root, middle and bottom, and a workload that each of their agents knows."""
    root = await stack.enter_async_context(tier(tmp_path / "root"))
    middle = await stack.enter_async_context(tier(tmp_path / "middle", root))
    bottom = await stack.enter_async_context(tier(tmp_path / "bottom", middle))
    for one in (root, middle, bottom):
        await one.server.create_entry(TRAINER, OWN_UID)
    return [root, middle, bottom]


async def test_three_tiers_are_one_trust_domain(tmp_path: Path) -> None:
    """Each believes what workloads of the others show, X.509 and JWT, by one root and by the keys of all."""
    async with AsyncExitStack() as stack:
        tiers = await three(tmp_path, stack)
        await until(lambda: len(set(bundles_of(tiers))) == 1 and len(bundles_of(tiers)[0][1]) == 3)
        shown = [await trainer_at(one) for one in tiers]
        assert [len(chain) for chain, _ in shown] == [1, 2, 3]
        for one in tiers:
            for chain, token in shown:
                assert verifies(chain, token, await one.server.bundle())


async def test_a_key_that_is_revoked_at_the_bottom_is_gone_at_the_top(tmp_path: Path) -> None:
    """And in between: nobody takes its tokens any more."""
    async with AsyncExitStack() as stack:
        tiers = await three(tmp_path, stack)
        await until(lambda: len(set(bundles_of(tiers))) == 1 and len(bundles_of(tiers)[0][1]) == 3)
        kid = tiers[2].server.parts.trust.authority.jwt.current.kid
        for step in ("prepare", "activate", "taint", "revoke"):
            await tiers[2].server.admin.StepAuthority(pb.StepAuthorityRequest(kind="jwt", step=step))
        await until(lambda: len(set(bundles_of(tiers))) == 1 and kid not in bundles_of(tiers)[0][1])
        assert len(bundles_of(tiers)[0][1]) == 3


async def test_a_new_root_reaches_every_tier_and_what_is_signed_there(tmp_path: Path) -> None:
    """Prepared above it is trusted below; activated above, what is below is signed anew under it, with no gap."""
    async with AsyncExitStack() as stack:
        tiers = await three(tmp_path, stack)
        root, middle, bottom = tiers
        await until(lambda: len(set(bundles_of(tiers))) == 1)
        before = await trainer_at(bottom)
        await root.server.admin.StepAuthority(pb.StepAuthorityRequest(kind="x509", step="prepare"))
        await until(lambda: len(set(bundles_of(tiers))) == 1 and len(bundles_of(tiers)[2][0]) == 2)
        await root.server.admin.StepAuthority(pb.StepAuthorityRequest(kind="x509", step="activate"))
        fresh = root.server.parts.trust.authority.x509.current.id
        await until(lambda: middle.server.parts.trust.authority.x509.current.issuer_id == fresh)
        second = middle.server.parts.trust.authority.x509.current.id
        await until(lambda: bottom.server.parts.trust.authority.x509.current.issuer_id == second)
        assert verifies(*before, await root.server.bundle())
        for step in ("taint", "revoke"):
            await root.server.admin.StepAuthority(pb.StepAuthorityRequest(kind="x509", step=step))
        await until(lambda: len(set(bundles_of(tiers))) == 1 and len(bundles_of(tiers)[2][0]) == 1)
        chain, token = before
        while chain == before[0]:
            chain, token = await trainer_at(bottom)
        assert verifies(chain, token, await root.server.bundle())
