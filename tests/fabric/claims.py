"""Claims on a fabric for tests, and the leave that a small intent gives for them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.fabric.claims import Claim, Leave
from ringfence.fabric.membership import LEASE, Standing
from tests.policy.intent import FABRIC, GRANT, MESH, NOW, TRAINER, model_of

AT = int(NOW.timestamp())
ENDS = int(datetime.fromisoformat("2027-01-31T00:00:00Z").timestamp())  # of GRANT
AGENT = "spiffe://example.test/ringfence/agent/join_token/{}"
IDENTITY = "spiffe://example.test/ns/team-a/sa/trainer"
RAIL, LLM = "platform/rail", "team-a/llm-7b"

EVAL = """
kind: Workload
metadata: {name: eval, namespace: team-b}
spec: {role: training, match: [{unix.uid: 1009}]}
"""
OPEN = FABRIC.replace("tenants: [team-a]", "tenants: [team-a, team-b]")
GRANT_B = """
kind: FabricGrant
metadata: {name: eval, namespace: team-b}
spec:
  fabric: {name: rail, namespace: platform}
  identities: [{namespace: team-b}]
  job: eval
  expires: 2026-11-25T00:00:00Z
  owner: ml-platform
  reason: evaluation
"""


def leave_of(*documents: str, now: datetime = NOW) -> Leave:
    """The leave that *documents* give; without any, that of one fabric with one grant."""
    return Leave.of(model_of(MESH, TRAINER, *(documents or (FABRIC, GRANT)), now=now), now)


def two_tenants(now: datetime = NOW) -> Leave:
    """Two jobs on one fabric, of two tenants."""
    return leave_of(EVAL, OPEN, GRANT, GRANT_B, now=now)


def claim(node: int = 1, *addresses: str, **fields: Any) -> Claim:
    """That the trainer takes part on a node, with the address .NODE there if no other is given."""
    given = {"fabric": RAIL, "job": LLM, "spiffe_id": IDENTITY, "entry_id": "e1", **fields}
    return Claim(AGENT.format(node), addresses=addresses or (f"192.168.50.{node}",), **given)


def evaluation(node: int = 1, *addresses: str) -> Claim:
    """The same of the other tenant's job."""
    return claim(node, *addresses, job="team-b/eval", spiffe_id="spiffe://example.test/ns/team-b/sa/eval")


def standing(one: Claim, since: int = AT, **fields: int) -> Standing:
    """It, admitted."""
    return Standing(one, since, fields.pop("until", since + LEASE), **fields)


def given(one: Claim) -> tuple[SpiffeId, int]:
    """Every agent may give every identity, and no entry ends."""
    return SpiffeId.parse(one.spiffe_id), 0


def refused(_: Claim) -> tuple[SpiffeId, int]:
    """No agent may give anything."""
    raise RingfenceError(Kind.DENIED, "it has no such entry")
