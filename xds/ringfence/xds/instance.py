"""What a proxy says of itself in its node metadata: where it listens, and where its workload is.

Nothing of it is believed beyond that: who the proxy is comes from its certificate.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.selectors import MAX_RANK
from ringfence.xds.locality import NOWHERE, Locality
from ringfence.xds.made import Made

Address = tuple[str, int]  # host and port; or the path of a Unix socket and 0
_PIPE = re.compile(r"unix:(/[^\0-\x1f\x7f]{1,106})")  # sun_path holds 108 bytes with its NUL (unix(7))
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[0-9a-zA-Z.-]+):([0-9]{1,5})")
# What a launcher holds open for its proxy, and nothing else of the file system.
_NETNS = re.compile(r"/proc/[1-9][0-9]{0,9}/fd/[0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address at which some proxy serves a port, and where that proxy runs."""

    host: str
    port: int
    locality: Locality = NOWHERE


@dataclass(frozen=True, slots=True)
class Capture:
    """The workload's network namespace as a file, and where in it captured connections and questions for names go."""

    netns: str
    listen: Address
    dns: Address


@dataclass(frozen=True, slots=True)
class Instance:
    """One proxy: addresses by port name, by upstream (`registry.shared/http`), and of the catch-all egress listener.

    `proxyless`: there is none, but a gRPC library that speaks for itself; of the addresses only those of ports are its.
    `application`: where the workload's own ports are, if behind walls of its own and not on the proxy's loopback.
    `cuts`: the ports at which the agent ends the connections of whoever is revoked, so that the proxy need not drain.
    `capture`: its workload lives in a network namespace of its own, from which nothing leads but to this proxy.
    `ranks`: of a job the one rank that an upstream means. It narrows whom this proxy speaks to, and nothing else.
    """

    node_id: str
    inbound: Mapping[str, Address] = field(default_factory=dict)
    upstream: Mapping[str, Address] = field(default_factory=dict)
    egress: Address | None = None
    socket_dir: str = ""
    proxyless: bool = False
    locality: Locality = NOWHERE
    cuts: frozenset[str] = frozenset()
    application: Mapping[str, Address] = field(default_factory=dict)
    capture: Capture | None = None
    ranks: Mapping[str, int] = field(default_factory=dict)
    made: Made = field(default_factory=Made, compare=False, repr=False)

    @classmethod
    def parse(
        cls,
        node_id: str,
        metadata: Mapping[str, Any],
        *,
        proxyless: bool = False,
        locality: Locality = NOWHERE,
    ) -> Instance:
        """From a node's metadata, `{"ringfence": {...}}`; raises INVALID with the name of the field that is wrong."""
        ours = metadata.get("ringfence", {})
        if not isinstance(ours, Mapping):
            raise _wrong("ringfence", "an object")
        egress = ours.get("egress")
        socket_dir = ours.get("socket_dir", "")
        if not isinstance(socket_dir, str):
            raise _wrong("socket_dir", "a path")
        return cls(
            node_id,
            _addresses(ours, "inbound"),
            _addresses(ours, "upstream", _or_pipe),
            _or_pipe("egress", egress) if egress is not None else None,
            socket_dir,
            proxyless,
            locality,
            _names(ours, "cuts"),
            _addresses(ours, "application", _pipe),
            _capture(ours.get("capture")),
            _ranks(ours.get("ranks", {})),
        )


def _capture(told: Any) -> Capture | None:
    if told is None:
        return None
    if not isinstance(told, Mapping):
        raise _wrong("capture", "an object")
    netns = told.get("netns")
    if not isinstance(netns, str) or not _NETNS.fullmatch(netns):
        raise _wrong("capture.netns", "/proc/PID/fd/N")
    return Capture(netns, *(_address(f"capture.{name}", told.get(name)) for name in ("listen", "dns")))


def _ranks(told: Any) -> Mapping[str, int]:
    if not isinstance(told, Mapping):
        raise _wrong("ranks", "an object")
    for name, rank in told.items():
        # A Struct of protobuf has but one kind of number, and not all of it is one.
        is_number = isinstance(rank, int | float) and not isinstance(rank, bool) and 0 <= rank <= MAX_RANK
        if not is_number or rank != int(rank):
            raise _wrong(f"ranks.{name}", "the number of a rank")
    return MappingProxyType({str(name): int(rank) for name, rank in sorted(told.items())})


def _names(ours: Mapping[str, Any], name: str) -> frozenset[str]:
    listed = ours.get(name, [])
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise _wrong(name, "a list of names")
    return frozenset(listed)


def _addresses(
    ours: Mapping[str, Any], name: str, read: Callable[[str, Any], Address] | None = None
) -> Mapping[str, Address]:
    listed = ours.get(name, {})
    if not isinstance(listed, Mapping):
        raise _wrong(name, "an object")
    return MappingProxyType(
        {str(key): (read or _address)(f"{name}.{key}", value) for key, value in sorted(listed.items())}
    )


def _address(name: str, value: Any) -> Address:
    found = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    if found is None or not 0 < int(found[2]) < 2**16:
        raise _wrong(name, "HOST:PORT")
    return found[1].strip("[]"), int(found[2])


def _or_pipe(name: str, value: Any) -> Address:
    """Where only the workload itself calls: what others call has to be an address that they can reach."""
    return _pipe(name, value) if isinstance(value, str) and value.startswith("unix:") else _address(name, value)


def _pipe(name: str, value: Any) -> Address:
    found = _PIPE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise _wrong(name, "unix:/PATH")
    return found[1], 0


def _wrong(name: str, wanted: str) -> RingfenceError:
    return RingfenceError(
        Kind.INVALID, f"node metadata ringfence.{name} is not {wanted}", hint="`ringfence run` writes what is wanted"
    )
