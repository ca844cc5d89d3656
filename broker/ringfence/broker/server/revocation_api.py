"""The admin API's part on revocation: take back, give again, and list what was taken back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.revoking import IDENTITY, NODE, SERIAL, Outcome, Revoker, Target, Why
from ringfence.broker.server.doorkeeper import Doorkeeper
from ringfence.broker.server.node_api import NodeApi
from ringfence.certs.errors import Kind, RingfenceError

_TARGETS_A_CALL = 1_000


@dataclass(frozen=True, slots=True)
class RevocationApi:
    """RevokeIdentities, LiftRevocations and ListRevocations of the service Server."""

    revoker: Revoker
    doorkeeper: Doorkeeper
    nodes: NodeApi
    proxies: Callable[[], int]  # how many are connected

    def unary(self) -> dict[str, Callable[[Any], Awaitable[Any]]]:
        """What answers each call."""
        return {"RevokeIdentities": self.revoke, "LiftRevocations": self.lift, "ListRevocations": self.list_all}

    async def revoke(self, asked: pb.RevokeIdentitiesRequest) -> pb.RevokeIdentitiesResponse:
        """Take back identities, serials and all that nodes got; raises what `Revoker.revoke` raises."""
        # 1. Something, not too much of it, and all of it makes sense: a dry run says what would be.
        targets, why = _targets(asked), Why(asked.reason, asked.code, asked.until)
        agents = self.nodes.agents_of(asked.nodes)
        outcomes = await self.revoker.revoke(targets, why, dry_run=True)
        banned: set[str] = set()
        ended = self.doorkeeper.ended
        if not asked.dry_run:
            # 2. Nodes first: nothing more is issued through them from here on.
            banned = {str(agent) for agent in agents if await self.nodes.agents.ban(agent, why.reason) is not None}
            # 3. What was given, with whatever is open by it.
            outcomes = await self.revoker.revoke(targets, why)
            self.doorkeeper.sweep()
        return pb.RevokeIdentitiesResponse(
            results=_results(outcomes, "revoked", banned),
            agents=self.nodes.agents.connected,
            proxies=self.proxies(),
            connections=self.doorkeeper.ended - ended,
        )

    async def lift(self, asked: pb.LiftRevocationsRequest) -> pb.LiftRevocationsResponse:
        """Give identities again."""
        outcomes = await self.revoker.lift(list(asked.spiffe_ids), dry_run=asked.dry_run)
        return pb.LiftRevocationsResponse(results=_results(outcomes, "lifted"), agents=self.nodes.agents.connected)

    async def list_all(self, _: pb.ListRevocationsRequest) -> pb.ListRevocationsResponse:
        """Everything that is revoked now, by name, with the lists that say so."""
        current, crls = self.revoker.revoked.current, self.revoker.revoked.crls
        return pb.ListRevocationsResponse(
            identities=[
                pb.RevokedIdentity(
                    spiffe_id=one.spiffe_id, revoked_at=one.revoked_at, reason=one.reason, by=one.by, until=one.until
                )
                for _, one in sorted(current.identities.items())
            ],
            certificates=[
                pb.RevokedCertificate(
                    serial=one.serial,
                    spiffe_id=one.spiffe_id,
                    node=one.node,
                    authority=one.authority,
                    revoked_at=one.revoked_at,
                    expires_at=one.not_after,
                    code=one.code,
                    reason=one.reason,
                )
                for _, one in sorted(current.serials.items())
            ],
            lists=[
                pb.RevocationList(
                    authority=authority,
                    number=crl.number,
                    this_update=int(crl.this_update.timestamp()),
                    next_update=int(crl.next_update.timestamp()),
                    crl=crl.der,
                )
                for authority, crl in sorted(crls.items())
            ],
        )


def _targets(asked: pb.RevokeIdentitiesRequest) -> list[Target]:
    named = ((IDENTITY, asked.spiffe_ids), (SERIAL, asked.serials), (NODE, asked.nodes))
    targets = [Target(kind, subject) for kind, subjects in named for subject in dict.fromkeys(subjects)]
    if not 0 < len(targets) <= _TARGETS_A_CALL:
        raise RingfenceError(Kind.INVALID, f"name 1 to {_TARGETS_A_CALL} identities, serials or nodes")
    return targets


def _results(
    outcomes: Iterable[Outcome], action: str, also: set[str] | frozenset[str] = frozenset()
) -> list[pb.RevocationResult]:
    return [
        pb.RevocationResult(
            subject=outcome.target.subject,
            kind=outcome.target.kind,
            action=action if outcome.changed or outcome.target.subject in also else "unchanged",
            documents=outcome.documents,
        )
        for outcome in outcomes
    ]
