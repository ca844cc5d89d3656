"""One connected proxy, as far as the fleet knows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ringfence.admin.v1 import admin_pb2
from ringfence.broker.fleet.caller import Caller
from ringfence.broker.fleet.endpoints import Served
from ringfence.broker.fleet.scope import Scope
from ringfence.broker.fleet.stream import Stream
from ringfence.xds.instance import Instance

SYNCED, STALE, NACK = "SYNCED", "STALE", "NACK"


@dataclass(eq=False, slots=True)
class Proxy:
    """A stream of a proxy. Two streams of one proxy are two of these, until the older one ends."""

    caller: Caller
    instance: Instance
    stream: Stream
    scope: Scope | None  # None: its workload is in the model no more
    revision: str = ""  # of the intent last acknowledged in full
    refusal: str = ""  # its NACK in the words of the document

    @property
    def node(self) -> str:
        """What tells proxies apart over all workloads: a node id is only a claim, so the workload goes before it."""
        return f"{self.caller.workload.key}#{self.instance.node_id}"

    @property
    def inbound(self) -> dict[str, tuple[str, int]]:
        """Where it serves the ports that its workload has."""
        workload = self.scope.workload if self.scope is not None else self.caller.workload
        return {name: address for name, address in self.instance.inbound.items() if workload.port(name) is not None}

    @property
    def reads(self) -> set[Served]:
        """The ports whose endpoints it holds."""
        upstreams = self.scope.upstreams if self.scope is not None else ()
        return {(upstream.key, upstream.port) for upstream in upstreams if not upstream.external}

    @property
    def state(self) -> str:
        """NACK while it refuses something, SYNCED when it holds the newest snapshot, else STALE."""
        if self.refusal or self.stream.failure is not None:
            return NACK
        return SYNCED if self.stream.synced() else STALE

    def status(self) -> Any:
        """The row of `proxy status`."""
        detail = str(self.stream.failure) if self.stream.failure is not None else self.refusal
        return admin_pb2.ProxyStatus(
            spiffe_id=str(self.caller.spiffe_id),
            node=self.instance.node_id,
            revision=self.revision,
            state=self.state,
            detail=detail,
            inbound=[f"{name}={host}:{port}" for name, (host, port) in sorted(self.inbound.items())],
        )
