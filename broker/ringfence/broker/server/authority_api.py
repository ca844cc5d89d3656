"""The admin API's part for authorities: show them, take one step of their life, have everything renewed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.server.agents import Agents
from ringfence.broker.server.identity import ServerIdentity
from ringfence.broker.trust import Trust
from ringfence.certs.authority import Authority
from ringfence.certs.line import Part

_SLOTS = {"active": "current", "prepared": "next", "old": "old", "tainted": "old"}
_AFTER = {"prepare": "prepared", "activate": "active", "taint": "tainted", "revoke": "revoked"}


@dataclass(frozen=True, slots=True)
class AuthorityApi:
    """Calls on the authority of this server."""

    trust: Trust
    identity: ServerIdentity
    agents: Agents

    def unary(self) -> dict[str, Callable[[Any], Awaitable[Any]]]:
        """Its methods by name."""
        return {"Rotate": self.rotate, "ShowAuthorities": self.show, "StepAuthority": self.step}

    async def rotate(self, asked: pb.RotateRequest) -> pb.RotateResponse:
        """Have every agent renew its SVIDs, from a new authority if asked."""
        if asked.authority:
            await self.trust.replace()
        await self.identity.renew()
        self.trust.tell_agents()
        return pb.RotateResponse(
            authority=self.trust.authority.current.x509.subject_key_id, agents=self.agents.connected
        )

    async def show(self, _: pb.ShowAuthoritiesRequest) -> pb.ShowAuthoritiesResponse:
        """Every authority, the signing ones first."""
        return pb.ShowAuthoritiesResponse(authorities=_messages(self.trust.authority))

    async def step(self, asked: pb.StepAuthorityRequest) -> pb.StepAuthorityResponse:
        """Prepare, activate, taint or revoke, or only try to; raises what `Trust.take` raises."""
        taken: Part | None
        if asked.dry_run:
            taken = await self.trust.rehearse(asked.kind, asked.step, asked.id)
        else:
            taken = await self.trust.take(asked.kind, asked.step, asked.id)
            if asked.step == "activate":
                await self.identity.renew()
        state = _AFTER[asked.step]
        unmade = pb.Authority(kind=asked.kind, slot=_SLOTS["prepared"], state=state)
        return pb.StepAuthorityResponse(
            authority=unmade if taken is None else _message(asked.kind, taken, state),
            sequence=self.trust.bundle.sequence,
            agents=self.agents.connected,
        )


def _messages(authority: Authority) -> Iterator[pb.Authority]:
    for line in authority.lines:
        for one in line.every():
            yield _message(line.kind, one, line.state_of(one.id))


def _message(kind: str, one: Part, state: str) -> pb.Authority:
    return pb.Authority(
        kind=kind,
        slot=_SLOTS.get(state, ""),
        id=one.id,
        not_before=int(one.not_before.timestamp()),
        not_after=int(one.not_after.timestamp()),
        state=state,
        upstream=one.issuer_id,
    )
