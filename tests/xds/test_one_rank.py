"""A caller that means one rank of a job speaks to no other, whichever proxy the server sends it to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.callers import RevokedCaller
from ringfence.policy.identities import Ranks
from ringfence.policy.model import Model
from ringfence.xds import codec, types
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.instance import Endpoint, Instance
from ringfence.xds.snapshot import Snapshot
from tests.policy import intent

INTENT = intent.joined(
    intent.MESH,
    """
kind: Workload
metadata: {name: trainer, namespace: team-a}
spec:
  role: training
  job: llama
  launch: {by: [{unix.uid: 1001}]}
  serves: [{name: c10d, port: 29500, protocol: tcp}]
""",
    """
kind: Allow
metadata: {name: ranks-meet, namespace: team-a}
spec: {from: [{workload: trainer}], to: [{workload: trainer, port: c10d}], owner: o, reason: r}
""",
)
KEY, UPSTREAM = "team-a/trainer", "trainer.team-a/c10d"
WHERE = f"outbound/{UPSTREAM}"
HERE = {("team-a/trainer", "c10d"): (Endpoint("10.0.0.1", 20001), Endpoint("10.0.0.2", 20002))}
FIRST = "spiffe://example.test/ns/team-a/job/llama/rank/0"


def compiled(model: Model, **told: Any) -> Snapshot:
    """What the proxy of rank 3 holds."""
    workload = model.workloads[KEY]
    assert isinstance(workload.identity, Ranks)
    instance = Instance("n", upstream={UPSTREAM: ("127.0.0.1", 29500)}, **told)
    return compile_snapshot(
        model, replace(workload, identity=workload.identity.rank(3)), instance, HERE, now=intent.NOW
    )


def server(snapshot: Snapshot) -> Any:
    """Whom a server there has to prove to be."""
    socket = codec.unpack(snapshot.named(types.CLUSTER)[WHERE].any).transport_socket
    context = codec.unpack(socket.typed_config.SerializeToString()).common_tls_context.combined_validation_context
    (name,) = context.default_validation_context.match_typed_subject_alt_names
    return name.matcher


def test_who_means_one_rank_takes_it_alone_for_the_server() -> None:
    """By its very name, though others of the job say that they serve the port."""
    assert server(compiled(intent.model_of(INTENT), ranks={UPSTREAM: 0})).exact == FIRST


@pytest.mark.parametrize("told", [{}, {"ranks": {"another.team-a/c10d": 0}}])
def test_who_means_none_takes_any(told: Any) -> None:
    """As of every job."""
    assert server(compiled(intent.model_of(INTENT), **told)).WhichOneof("match_pattern") == "safe_regex"


def test_a_rank_that_is_revoked_is_spoken_to_no_more() -> None:
    """There is no way to it then, though the others of the job are there."""
    model = intent.model_of(INTENT)
    gone = RevokedCaller(whole=True, serials=frozenset(), newest=1)
    revoked = replace(model, revoked={str(SpiffeId.parse(FIRST)): gone})
    assert WHERE not in compiled(revoked, ranks={UPSTREAM: 0}).named(types.CLUSTER)
    assert WHERE in compiled(revoked).named(types.CLUSTER)
