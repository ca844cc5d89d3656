"""The ranks of a job in the fleet: each proxy is that of one rank, and what happens to one happens to no other."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ringfence.broker.fleet.caller import Caller, identify
from ringfence.broker.fleet.describe import describe
from ringfence.broker.fleet.fleet import Fleet
from ringfence.broker.fleet.scope import Scopes
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.revocation import Revocations, RevokedIdentity
from ringfence.policy.identities import Ranks
from ringfence.policy.model import Model, Workload
from ringfence.policy.revoked import with_revoked
from ringfence.proto.status import Code
from ringfence.xds import codec
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.snapshot import Snapshot
from ringfence.xds.types import CLUSTER, ENDPOINT
from tests.broker.fleet.tls import Identities
from tests.broker.fleet.world import MESH, NOW, PULL, Clock, FakeProxy, MemoryLog, compiled, fleet_of, model

TRAINER = "team-a/trainer"
JOB = (
    MESH.replace(
        "spec: {role: training, match: [{unix.uid: 1001}]}",
        "spec: {job: llm, launch: {by: [{unix.uid: 1001}]}, serves: [{name: c10d, port: 29500, protocol: tcp}]}",
    )
    + PULL
    + """---
kind: Allow
metadata: {name: meet, namespace: team-a}
spec: {from: [{workload: trainer}], to: [{workload: trainer, port: c10d}], owner: ml, reason: rendezvous}
"""
)
MEETS = "trainer.team-a/c10d"
STORE = f"{TRAINER}/c10d"


def serving(number: int) -> dict[str, object]:
    """What a rank's proxy says of itself."""
    return {
        "inbound": {"c10d": f"127.0.0.1:{4000 + number}"},
        "upstream": {MEETS: f"127.0.0.1:{5000 + number}"},
    }


def revoking(number: int) -> Revocations:
    """That rank is revoked as a whole."""
    return Revocations.of((), [RevokedIdentity(f"spiffe://example.test/ns/team-a/job/llm/rank/{number}", 5, "x", "y")])


def towards_the_others(snapshot: Snapshot) -> tuple[str, str]:
    """Whose certificate it shows there, and whom it takes for a server."""
    cluster = codec.unpack(snapshot.resources[CLUSTER][f"outbound/{MEETS}"].any)
    tls = codec.unpack(cluster.transport_socket.typed_config.SerializeToString()).common_tls_context
    context = tls.combined_validation_context.default_validation_context
    own = tls.tls_certificate_sds_secret_configs[0].name
    return own, context.match_typed_subject_alt_names[0].matcher.safe_regex.regex


async def two_ranks(fleet: Fleet) -> tuple[FakeProxy, FakeProxy]:
    """Of one job, each with a node id that the other could have too."""
    one = await FakeProxy(fleet, TRAINER, rank=0, **serving(0)).start()
    two = await FakeProxy(fleet, TRAINER, rank=1, **serving(1)).start()
    await one.settle()
    return one, two


async def test_each_rank_is_an_endpoint_of_the_others() -> None:
    """Although both proxies call themselves n1: what a rank says of itself takes nothing from another one."""
    fleet = await fleet_of(JOB)

    one, two = await two_ranks(fleet)

    assert one.holds[ENDPOINT][STORE] == two.holds[ENDPOINT][STORE] == "127.0.0.1:4000,127.0.0.1:4001"
    assert len(fleet) == 2


async def test_a_rank_says_goodbye_for_itself_alone() -> None:
    """Whoever leaves under the node id of another rank leaves alone."""
    fleet = await fleet_of(JOB)
    one, two = await two_ranks(fleet)

    await fleet.depart(two.proxy.node, patience=0)
    await one.settle()

    assert one.holds[ENDPOINT][STORE] == "127.0.0.1:4000"


async def test_one_rank_is_revoked_alone() -> None:
    """Its stream ends and its endpoint is gone; the others are told of it, and stay."""
    log = MemoryLog()
    fleet = await fleet_of(JOB, log=log)
    one, two = await two_ranks(fleet)
    registry = await FakeProxy(fleet, "shared/registry").start()

    assert fleet.revoke(revoking(1)) == 3  # the rank itself, the other one, and the registry, which it may call
    await one.settle()
    await registry.settle()

    assert two.call.ended is not None
    assert two.call.ended.code is Code.PERMISSION_DENIED
    assert one.call.ended is None
    assert one.holds[ENDPOINT][STORE] == "127.0.0.1:4000"
    assert fleet.revoke(revoking(1)) == 0
    assert fleet.revoke(Revocations()) == 2, "a lifted one is told to the same"


async def test_a_stranger_that_looks_like_a_rank_costs_nobody_anything() -> None:
    """No rule means it, though its name begins as theirs do."""
    fleet = await fleet_of(JOB)
    await two_ranks(fleet)
    stranger = "spiffe://example.test/ns/team-a/job/llm/rank/1/x"

    assert fleet.revoke(Revocations.of((), [RevokedIdentity(stranger, 5, "x", "y")])) == 0


def test_a_rank_is_served_and_nothing_that_only_looks_like_one() -> None:
    """By what the certificate proves; a revoked rank is refused, and the next one is not."""
    identities = Identities()
    now = identities.now
    scopes = Scopes(model(JOB), now)

    def leaf(path: str) -> bytes:
        return x509.load_pem_x509_certificate(identities.issue(path)[1]).public_bytes(Encoding.DER)

    caller = identify(leaf("/ns/team-a/job/llm/rank/7"), scopes, now)
    assert (caller.workload.key, caller.spiffe_id.path) == (TRAINER, "/ns/team-a/job/llm/rank/7")
    for path in ("rank/07", "rank/7x", "rank/7/x", "rank", "rank/1000000"):
        with pytest.raises(RingfenceError) as caught:
            identify(leaf(f"/ns/team-a/job/llm/{path}"), scopes, now)
        assert caught.value.kind is Kind.DENIED
    for path in ("/ns/team-a/sa/trainer", "/ns/team-a/job/llm2/rank/7", "/ns/team-b/job/llm/rank/7"):
        with pytest.raises(RingfenceError):
            identify(leaf(path), scopes, now)
    left = Scopes(with_revoked(model(JOB), revoking(7)), now)
    with pytest.raises(RingfenceError, match="revoked"):
        identify(leaf("/ns/team-a/job/llm/rank/7"), left, now)
    assert identify(leaf("/ns/team-a/job/llm/rank/8"), left, now).workload.key == TRAINER


def test_a_launcher_is_told_of_its_own_rank() -> None:
    """And of the way to the others, which no other workload has to itself."""
    scopes = Scopes(model(JOB), NOW)
    scope = scopes.of(TRAINER)
    assert scope is not None
    assert isinstance(scope.workload.identity, Ranks)

    told = describe(scope, scope.workload.identity.rank(3), "r")

    assert told.spiffe_id == "spiffe://example.test/ns/team-a/job/llm/rank/3"
    assert [upstream.key for upstream in told.upstreams] == ["registry.shared/http", MEETS]
    assert [served.name for served in told.served] == ["c10d"]


async def test_each_proxy_is_compiled_for_its_own_rank() -> None:
    """It shows its own certificate, whatever the others have; a rank that is revoked is no server to it."""
    made: dict[str, Snapshot] = {}

    def compiler(part: Model, workload: Workload, *rest: Any, now: datetime) -> Snapshot:
        made[str(workload.identity)] = compile_snapshot(part, workload, *rest, now=now)
        return compiled(part, workload, *rest, now=now)

    fleet = Fleet(compiler, MemoryLog(), clock=Clock())
    await fleet.restore()
    fleet.apply(model(JOB))
    await two_ranks(fleet)

    names = [f"spiffe://example.test/ns/team-a/job/llm/rank/{rank}" for rank in (0, 1)]
    assert sorted(made) == names
    for name, other in (names, reversed(names)):
        own, servers = towards_the_others(made[name])
        assert own == name
        assert re.fullmatch(servers, other)
        assert not re.fullmatch(servers, f"{other}/x")

    fleet.revoke(revoking(1))
    await asyncio.sleep(0)
    _, servers = towards_the_others(made[names[0]])
    assert re.fullmatch(servers, names[0])
    assert not re.fullmatch(servers, names[1])


def test_a_caller_that_is_a_rank_is_none_any_more_when_the_job_has_another_name() -> None:
    """It has to come back with another certificate."""
    other = Scopes(model(JOB.replace("job: llm", "job: other")), NOW)
    workload = model(JOB).workloads[TRAINER]
    assert isinstance(workload.identity, Ranks)
    caller = Caller(workload.identity.rank(1), replace(workload), NOW + timedelta(hours=1))

    assert other.workload(caller.spiffe_id) is None
