"""What a launcher learnt and chose about one proxy: identity, server, agent, and an address for every port."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ringfence.broker.run.capture_plan import DNS, LISTEN
from ringfence.broker.run.ports import LOOPBACK, free_address, free_ports
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.xds.locality import NOWHERE, Locality

SERVER_PATH = "/ringfence/server"
_EGRESS = "egress"
_CONNECTIONS = frozenset({"tcp", "postgres"})  # protocols of which a proxy judges connections, not requests
_UNIX = re.compile(r"unix:(?://)?(/[^/?#][^?#]*)")  # an absolute path; no authority, query or fragment


@dataclass(frozen=True, slots=True)
class Who:
    """What is to be launched, as the user names it."""

    namespace: str
    name: str
    rank: int | None = None  # which one, of a job
    job: str = ""  # of which it is a rank, as the agent says

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    def of(self, job: str) -> Who:
        """The same as a rank of *job*, or of none."""
        return replace(self, job=job)

    @property
    def path(self) -> str:
        """The path of its SPIFFE ID."""
        kind = f"job/{self.job}/rank/{self.rank}" if self.job else f"sa/{self.name}"
        return f"/ns/{self.namespace}/{kind}"


@dataclass(frozen=True, slots=True)
class Launch:
    """What the agent answers to a launch that it accepts."""

    server: str  # HOST:PORT
    trust_domain: str
    workload_socket: str
    others: tuple[str, ...] = ()  # servers that are as good, when that one is away
    locality: Locality = NOWHERE  # where the agent's host is
    cuts: bool = False  # whether the agent cuts single TCP connections of whoever is revoked
    job: str = ""  # of which the launch is a rank; empty: the workload is none

    @property
    def server_id(self) -> str:
        """The SPIFFE ID that the server must prove."""
        return f"spiffe://{self.trust_domain}{SERVER_PATH}"


@dataclass(frozen=True, slots=True)
class ProxyPlan:
    """All that the bootstrap and the environment are written from."""

    who: Who
    node_id: str
    spiffe_id: str
    launch: Launch
    served: dict[str, int]  # port name to where the workload listens; 0 for a Unix socket
    inbound: dict[str, str]  # port name to the proxy's HOST:PORT
    upstream: dict[str, str]  # "registry.shared/http" to HOST:PORT, or unix:PATH of a proxy on the other side of a wall
    environment: dict[str, str]  # name to the upstream's key
    egress: str  # the same, empty for none
    socket_dir: str
    cut: frozenset[str] = frozenset()  # ports whose connections the agent cuts, so that the proxy need not drain them
    last: dict[str, int] = field(default_factory=dict)  # of ranges, by served port's name or upstream's key
    application: dict[str, str] = field(default_factory=dict)  # port name to unix:PATH, where it is not on loopback
    netns: str = ""  # the workload's own network namespace as a file; empty where it shares the proxy's
    ranks: dict[str, int] = field(default_factory=dict)  # of a job the one rank that an upstream's key means

    @property
    def listeners(self) -> dict[str, str]:
        """HOST:PORT or unix:PATH of every listener that the proxy is to have, with what it is for."""
        named = {address: f"inbound {name}" for name, address in self.inbound.items()}
        named |= {address: f"upstream {key}" for key, address in self.upstream.items()}
        named |= {self.egress: _EGRESS} if self.egress else {}
        return named | ({LISTEN: "capture", DNS: "capture of names"} if self.netns else {})

    @property
    def metadata(self) -> dict[str, Any]:
        """What the server learns of this instance from the node; it says where, never what may be reached."""
        return {
            "inbound": self.inbound,
            "upstream": self.upstream,
            "socket_dir": self.socket_dir,
            **({"egress": self.egress} if self.egress else {}),
            **({"application": self.application} if self.application else {}),
            **({"cuts": sorted(self.cut)} if self.cut else {}),
            **({"ranks": self.ranks} if self.ranks else {}),
            **({"capture": {"netns": self.netns, "listen": LISTEN, "dns": DNS}} if self.netns else {}),
        }


def socket_path(text: str) -> str:
    """The path that PATH or `unix:///PATH` names (SPIFFE_Workload_Endpoint.md, 4); raises INVALID."""
    uri = _UNIX.fullmatch(text)
    if uri is None and (not text or text.startswith(("unix:", "tcp:", "//")) or "://" in text):
        raise RingfenceError(
            Kind.INVALID,
            f"{text} is no Unix socket" if text else "no agent socket is named",
            hint="Name it with --socket PATH or RINGFENCE_SOCKET",
        )
    return str(Path(uri[1] if uri else text).absolute())


def plan_proxy(
    who: Who, launch: Launch, described: Any, *, inbound_host: str, socket_dir: str, netns: str = ""
) -> ProxyPlan:
    """Choose an address for every port in *described* (proxy.v1 DescribeResponse); raises EXHAUSTED or INVALID.

    *netns*: the workload's own network namespace, where it has one.
    """
    served = {port.name: 0 if port.socket else port.port for port in described.served}
    ranges = {upstream.key: upstream for upstream in described.upstreams if upstream.last}
    keys = [upstream.key for upstream in described.upstreams if upstream.key not in ranges]
    wanted = [*_named("inbound", served, inbound_host), *_named("upstream", keys, LOOPBACK)]
    wanted += [(_EGRESS, LOOPBACK)] if described.egress else []
    chosen = free_ports(wanted)
    return ProxyPlan(
        who=who,
        node_id=f"{who}/{uuid.uuid4()}",
        spiffe_id=described.spiffe_id,
        launch=launch,
        served=served,
        inbound={name: chosen[f"inbound {name}"] for name in served},
        upstream={key: chosen[f"upstream {key}"] for key in keys} | {key: _place(one) for key, one in ranges.items()},
        environment={upstream.env: upstream.key for upstream in described.upstreams},
        egress=chosen.get(_EGRESS, ""),
        socket_dir=socket_dir,
        cut=frozenset(port.name for port in described.served if launch.cuts and port.protocol in _CONNECTIONS),
        last={port.name: port.last for port in described.served if port.last}
        | {key: upstream.last for key, upstream in ranges.items()},
        netns=netns,
    )


def _place(upstream: Any) -> str:
    """HOST:FIRST of a range, which keeps its own numbers on an address of its own."""
    return f"{free_address(range(upstream.first, upstream.last + 1))}:{upstream.first}"


def _named(kind: str, names: Iterable[str], host: str) -> list[tuple[str, str]]:
    return [(f"{kind} {name}", host) for name in names]
