"""Ranks of one job as gRPC libraries without a proxy: they reach each other, and take nobody else for a rank."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ringfence.certs.bundle_map import write_map, x509_only
from ringfence.certs.revocation import Revocations, RevokedIdentity
from ringfence.certs.spiffe_id import SpiffeId
from tests.e2e.identities import Identity
from tests.e2e.mesh import Mesh, running_mesh, until
from tests.e2e.proxyless import Library, install, library
from tests.e2e.test_grpc import ALLOWED, BOUND, GET, REFUSED, World
from tests.policy import intent
from tests.ports import free_port

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

TRAINER, JOB, TARGET = "team-a/trainer", "/ns/team-a/job/llm/rank/", "trainer.team-a:rpc"
INTENT = intent.joined(
    intent.MESH,
    """
kind: Workload
metadata: {name: trainer, namespace: team-a}
spec: {job: llm, launch: {by: [{unix.uid: 1001}]}, serves: [{name: rpc, port: APP, protocol: grpc}]}
---
kind: Allow
metadata: {name: meet, namespace: team-a}
spec: {from: [{workload: trainer}], to: [{workload: trainer, port: rpc}], owner: ml, reason: peers}
""",
)


def named(mesh: Mesh, path: str) -> Identity:
    """An SVID of that path, which a plain client finds at its DNS name too."""
    return mesh.domain.issue(SpiffeId(mesh.domain.name, path), dns=["registry.test"])


@asynccontextmanager
async def job(folder: Path) -> AsyncIterator[tuple[World, Library]]:
    """Rank 0 serves, and rank 1 has called it."""
    port = free_port()
    async with running_mesh(folder, INTENT.replace("APP", str(port))) as mesh:
        at = f"127.0.0.1:{port}"
        zero = await library(
            mesh, TRAINER, rank=0, job="llm", inbound={"rpc": at}, node="0", identity=named(mesh, f"{JOB}0")
        )
        await zero.do("serve", at=at, drain_ms=200)
        await until(lambda: any(row.inbound and row.state == "SYNCED" for row in mesh.fleet.list_proxies()))
        one = await library(mesh, TRAINER, rank=1, job="llm", node="1")
        assert await one.call(TARGET, GET) == ALLOWED
        yield World(mesh, INTENT, port, zero), one


async def test_ranks_reach_each_other_and_nobody_else_reaches_them(tmp_path: Path) -> None:
    """By their whole names: another job, and what only looks like a rank, are refused."""
    async with job(tmp_path) as (here, _):
        for path in (f"{JOB}0", f"{JOB}2", f"{JOB}999999"):
            assert await here.code(named(here.mesh, path)) == ALLOWED
        for path in (f"{JOB}1/x", f"{JOB}01", f"{JOB}1a", JOB.replace("llm", "llm2") + "1", "/ns/team-a/sa/trainer"):
            assert await here.code(named(here.mesh, path)) == REFUSED


async def test_one_rank_is_revoked_alone(tmp_path: Path) -> None:
    """On its next call, while others call on."""
    async with job(tmp_path) as (here, _):
        left, stays = named(here.mesh, f"{JOB}2"), named(here.mesh, f"{JOB}3")
        assert await here.code(left) == ALLOWED

        revoked = RevokedIdentity(f"spiffe://example.test{JOB}2", 5, "left", "alice")
        here.mesh.fleet.revoke(Revocations.of((), [revoked]))

        async with asyncio.timeout(BOUND):
            while await here.code(left) != REFUSED:
                pass
        assert await here.code(stays) == ALLOWED


@pytest.mark.parametrize("path", ["/ns/team-a/job/llm2/rank/0", f"{JOB}0/x", f"{JOB}00", "/ns/team-a/sa/trainer"])
async def test_a_server_that_is_no_rank_is_not_spoken_to(tmp_path: Path, path: str) -> None:
    """Whoever stands where rank 0 did."""
    async with job(tmp_path) as (here, _):
        bundle = here.mesh.domain.authority.bundle(1)
        install(here.registry.folder, named(here.mesh, path), bundle.x509_pem(), write_map([x509_only(bundle)]))
        another = await library(here.mesh, TRAINER, rank=2, job="llm", node="2")
        async with asyncio.timeout(BOUND):
            while "SAN" not in (said := await another.do("call", target=f"xds:///{TARGET}", path=GET, wait=False)):
                await another.do("forget", target=f"xds:///{TARGET}")
                await asyncio.sleep(0.2)
        assert said.startswith("UNAVAILABLE")
