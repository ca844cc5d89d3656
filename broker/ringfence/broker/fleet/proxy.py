"""One connected proxy, or a gRPC library that needs none, as far as the fleet knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ringfence.admin.v1 import admin_pb2
from ringfence.broker.fleet.caller import Caller
from ringfence.broker.fleet.endpoints import Served
from ringfence.broker.fleet.refusal import in_words
from ringfence.broker.fleet.scope import Scope, Scopes
from ringfence.broker.fleet.stream import Stream
from ringfence.broker.log import log
from ringfence.policy.callers import RevokedCaller
from ringfence.policy.model import Protocol, Workload
from ringfence.policy.revoked import is_revoked
from ringfence.xds.instance import Instance
from ringfence.xds.proxyless.losses import Loss, losses
from ringfence.xds.proxyless.names import served_by
from ringfence.xds.subscription import Nack

SYNCED, STALE, NACK = "SYNCED", "STALE", "NACK"


@dataclass(eq=False, slots=True)
class Proxy:
    """A stream of a proxy. Two streams of one proxy are two of these, until the older one ends."""

    caller: Caller
    instance: Instance
    stream: Stream
    scope: Scope | None  # None: its workload is in the model no more
    connected: datetime
    answered: datetime | None = None  # when it last said what it thinks of something that it was sent
    revision: str = ""  # of the intent last acknowledged in full
    refusal: str = ""  # its NACK in the words of the document
    offers: bool = False  # whether others were told where it serves
    departed: bool = False  # it has said goodbye, and goes on until its last requests are answered
    listeners: frozenset[str] = frozenset()  # those that a gRPC library asks for: of servers, and of targets

    @property
    def node(self) -> str:
        """What tells proxies apart over all workloads."""
        return node_of(self.caller.who, self.instance.node_id)

    @property
    def inbound(self) -> dict[str, tuple[str, int]]:
        """Where it serves the ports that its workload has; a gRPC library those that a server of it has bound."""
        if self.departed:
            return {}
        workload = self.scope.workload if self.scope is not None else self.caller.workload
        said = self.instance.inbound
        if self.instance.proxyless:
            said = {name: at for name, at in served_by(self.listeners, said).items() if _speaks_grpc(workload, name)}
        return {name: address for name, address in said.items() if workload.port(name) is not None}

    @property
    def reads(self) -> set[Served]:
        """The ports whose endpoints it holds."""
        if self.scope is None:
            return set()
        called = {(upstream.key, upstream.port) for upstream in self.scope.upstreams if not upstream.external}
        return called | {(port.key, port.port) for port in self.scope.routed}

    @property
    def state(self) -> str:
        """NACK while something is kept back that it refused, SYNCED when it holds the newest snapshot, else STALE."""
        if self.stream.nacks or self.stream.failure is not None:
            return NACK
        return SYNCED if self.stream.synced() else STALE

    @property
    def has_refused(self) -> bool:
        """Whether it refuses the newest there is for it, so that only another change can help."""
        return self.state == NACK and self.stream.rests()

    def losses(self, now: datetime) -> tuple[Loss, ...]:
        """What is not said to it as it was meant, because gRPC has no words for it; nothing for a proxy."""
        if self.scope is None or not self.instance.proxyless:
            return ()
        return losses(self.scope.model, self.scope.workload, now)

    def is_revoked(self, revoked: Mapping[str, RevokedCaller]) -> bool:
        """Whether its identity, or the certificate that it came with, is among *revoked*."""
        return is_revoked(revoked, self.caller.spiffe_id, self.caller.serial)

    def rescope(self, scopes: Scopes) -> bool:
        """Depend on what *scopes* say of its workload; whether that differs."""
        before, self.scope = self.scope, scopes.of(self.caller.workload.key)
        return self.scope is not before and self.scope != before

    def note_revision(self, revision: str) -> None:
        """It holds what the model of *revision*, which is in force, means to it, if it holds the newest."""
        if not self.stream.dirty and self.state == SYNCED:  # most are late in a storm, which costs no more than a look
            self.revision = revision

    def judge(self, nacks: Mapping[str, Nack], *, told: bool) -> None:
        """Say its NACKs, which may be none any more, in the words of the documents; *told*: by what it sent now."""
        self.refusal = "; ".join(in_words(nack, self.scope) for nack in nacks.values())
        if told and self.refusal:
            spiffe_id = str(self.caller.spiffe_id)
            log.warning("proxy refuses", spiffe_id=spiffe_id, node=self.instance.node_id, detail=self.refusal)

    def status(self, now: datetime) -> Any:
        """The row of `proxy status`."""
        detail = str(self.stream.failure) if self.stream.failure is not None else self.refusal
        detail = detail if self.state == NACK else ""
        detail = detail or "; ".join(map(str, self.losses(now)))
        return admin_pb2.ProxyStatus(
            spiffe_id=str(self.caller.spiffe_id),
            node=self.instance.node_id,
            revision=self.revision,
            state=self.state,
            detail=detail,
            inbound=[f"{name}={host}:{port}" for name, (host, port) in sorted(self.inbound.items())],
            region=self.instance.locality.region,
            zone=self.instance.locality.zone,
            connected_at=int(self.connected.timestamp()),
            answered_at=int(self.answered.timestamp()) if self.answered is not None else 0,
        )


def node_of(who: str, node_id: str) -> str:
    """What tells proxies apart over all workloads: a node id is only a claim, so *who* makes it goes before it."""
    return f"{who}#{node_id}"


def _speaks_grpc(workload: Workload, name: str) -> bool:
    port = workload.port(name)
    return port is not None and port.protocol is Protocol.GRPC
