"""Where the ranks of a job meet: the store of rank 0, which the others reach through their proxies and no other way.

Every rank finds it under the same address, its own loopback and the number that the intent has: PyTorch's rank 0 tells
the others the address that it was told itself (torch/distributed/elastic/agent/server/api.py). Only the proxy of rank 0
offers the port to the mesh.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from ringfence.broker.run.isolate_relay import Relays
from ringfence.broker.run.plan import ProxyPlan, Who
from ringfence.broker.run.ports import LOOPBACK
from ringfence.broker.run.rendezvous_relay import hold
from ringfence.broker.run.torchrun import STATIC
from ringfence.certs.errors import Kind, RingfenceError

_TCP = "tcp"
_PIPE = "unix:"
# What torchrun would rather believe than the address and the port.
_STRONGER = frozenset({"PET_RDZV_ENDPOINT", "PET_STANDALONE"})


@dataclass(frozen=True, slots=True)
class Meeting:
    """What the user asked for: the rank of this node, and the served port of rank 0's store."""

    rank: int
    port: str


@dataclass(frozen=True, slots=True)
class Rendezvous:
    """One rank's way to the store."""

    rank: int
    port: str
    number: int
    upstream: str  # the key of the one that leads to rank 0

    @classmethod
    def of(cls, wanted: Meeting, who: Who, described: Any) -> Rendezvous:
        """By what the server described; raises NOT_FOUND or DENIED where the intent has no such way."""
        served = {port.name: port for port in described.served if port.protocol == _TCP}
        port = served.get(wanted.port)
        if port is None or port.socket or port.last:
            example = f"serves: [{{name: {wanted.port}, port: 29500, protocol: tcp}}]"
            raise RingfenceError(
                Kind.NOT_FOUND,
                f"Workload {who.namespace}/{who.name} serves no TCP port {wanted.port!r} for rank 0's store",
                hint=f"Let it have `{example}`, or name another port with --rendezvous",
            )
        key = f"{who.name}.{who.namespace}/{wanted.port}"
        if wanted.rank and key not in {upstream.key for upstream in described.upstreams}:
            raise RingfenceError(
                Kind.DENIED,
                f"no rule lets ranks of {who.namespace}/{who.name} reach the store of its rank 0 on port {wanted.port}",
                hint=f"Write an Allow from {{workload: {who.name}}} to {{workload: {who.name}, port: {wanted.port}}}",
            )
        return cls(wanted.rank, wanted.port, port.port, key)

    @property
    def address(self) -> str:
        """Where this rank finds the store."""
        return f"{LOOPBACK}:{self.number}"

    @property
    def is_host(self) -> bool:
        """Whether the store is here."""
        return self.rank == 0

    def planned(self, plan: ProxyPlan) -> ProxyPlan:
        """*plan* with that one way: rank 0 offers the port and has no need of it, the others have it and offer none.

        They speak to rank 0 alone, whichever rank else may say that it is there.
        """
        if self.is_host:
            return replace(
                plan,
                upstream=_without(plan.upstream, self.upstream),
                environment={name: key for name, key in plan.environment.items() if key != self.upstream},
            )
        return replace(
            plan,
            served=_without(plan.served, self.port),
            inbound=_without(plan.inbound, self.port),
            upstream=plan.upstream | {self.upstream: self.address},
            cut=plan.cut - {self.port},
            ranks={self.upstream: 0},
        )

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """*inherited* with the variables of PyTorch (`env://`) and torchrun, without what these would rather take."""
        number = str(self.number)
        ours = {
            "MASTER_ADDR": LOOPBACK,
            "MASTER_PORT": number,
            "PET_RDZV_BACKEND": STATIC,
            "PET_MASTER_ADDR": LOOPBACK,
            "PET_MASTER_PORT": number,
            "PET_NODE_RANK": str(self.rank),
        }
        return {name: value for name, value in inherited.items() if name not in _STRONGER} | ours


class Held:
    """The way of another rank than 0, open from before there is a store until the end. Used as `async with`.

    *bind* makes a socket of an address in the command's network; raises CONFLICT when its port is taken there.
    """

    def __init__(self, rendezvous: Rendezvous, folder: Path, bind: Callable[[str, int], socket.socket]) -> None:
        self._rendezvous = rendezvous
        self._pipe = str(folder / "store.sock")
        self._bind = bind
        self._relays = Relays()

    async def __aenter__(self) -> Self:
        try:
            listening = self._bind(LOOPBACK, self._rendezvous.number)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise RingfenceError(
                Kind.CONFLICT,
                f"port {self._rendezvous.number}, under which this rank has to find the store, is taken here",
                hint="Two ranks on one node need a loopback each: --isolate, or --capture with a namespace",
            ) from None
        self._relays.start(listening, self._dial, hold)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._relays.close()

    def outside(self, plan: ProxyPlan) -> ProxyPlan:
        """The proxy's plan, of the command's: its listener is a pipe behind the relay."""
        return replace(plan, upstream=plan.upstream | {self._rendezvous.upstream: f"{_PIPE}{self._pipe}"})

    async def _dial(self) -> socket.socket:
        far = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        far.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(far, self._pipe)
        except BaseException:
            far.close()
            raise
        return far


def _without(found: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key != name}
