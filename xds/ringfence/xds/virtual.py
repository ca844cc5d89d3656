"""Names and virtual addresses by which a program that knows nothing of its proxy dials what it may reach."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from ringfence.policy.forbidden import address_of
from ringfence.policy.model import Model, Protocol
from ringfence.policy.scope import Upstream

# Class E (RFC 1112 section 4): Linux connects to it, nothing routes it, so that it can be nobody's real address.
VIRTUAL = IPv4Network("240.0.0.0/8")
SUFFIX = "mesh"  # registry.shared.mesh
# A port behind a Unix socket has no number of its own; a `tcp` one that has none cannot be dialled by name.
_USUAL = {Protocol.HTTP: 80, Protocol.HTTP2: 80, Protocol.GRPC: 80, Protocol.POSTGRES: 5432}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a captured program connects to reach one upstream: a name (empty for a bare address) and its ports."""

    name: str
    address: str
    numbers: tuple[int, ...]


def places(model: Model, upstreams: Sequence[Upstream]) -> Mapping[str, Place]:
    """The place of each of *upstreams*, by the upstream's name; none for what has no number, or no one name.

    All ports of a host share its address. Of two that would be dialled alike the first has the number.
    """
    named = {upstream.name: _host(model, upstream) for upstream in upstreams}
    given = virtual_addresses(host for host in named.values() if "*" not in host and address_of(host) is None)
    taken: set[tuple[str, int]] = set()
    found = {}
    for upstream in upstreams:
        host = named[upstream.name]
        address = given.get(host) or _as_it_is(host)
        numbers = tuple(n for n in _numbers(model, upstream) if address and (address, n) not in taken)
        taken |= {(address, number) for number in numbers}
        if numbers:
            found[upstream.name] = Place(host if host in given else "", address, numbers)
    return found


def virtual_addresses(names: Iterable[str]) -> Mapping[str, str]:
    """An address of VIRTUAL for each of *names*: by the name alone, but where two would have the same one."""
    found: dict[str, str] = {}
    taken: set[int] = set()
    for name in sorted(set(names)):
        place = _hashed(name)
        while place in taken:
            place = place % (VIRTUAL.num_addresses - 2) + 1
        taken.add(place)
        found[name] = str(VIRTUAL[place])
    return found


def workload_key(host: str) -> str:
    """`namespace/name` of the workload that a name of the mesh means, whether there is one; else an empty text."""
    name, _, rest = host.partition(".")
    namespace, _, suffix = rest.partition(".")
    return f"{namespace}/{name}" if suffix == SUFFIX else ""


def _hashed(name: str) -> int:
    """Neither the first nor the last address of the network."""
    digest = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    return digest % (VIRTUAL.num_addresses - 2) + 1


def _host(model: Model, upstream: Upstream) -> str:
    """What is dialled; a wildcard is no name."""
    if upstream.external:
        return model.externals[upstream.key].host
    namespace, _, name = upstream.key.partition("/")
    return f"{name}.{namespace}.{SUFFIX}"


def _as_it_is(host: str) -> str:
    """The IPv4 address that a document names instead of a host; nothing for a wildcard."""
    address = address_of(host)
    return str(address) if isinstance(address, IPv4Address) else ""


def _numbers(model: Model, upstream: Upstream) -> Iterable[int]:
    owner = model.externals[upstream.key] if upstream.external else model.workloads[upstream.key]
    port = owner.port(upstream.port)
    if port is None:
        raise KeyError(upstream.name)  # upstreams come from the same model: it cannot be
    if upstream.external:
        return (port.number,)
    usual = _USUAL.get(port.protocol)
    return tuple(port.numbers) or ((usual,) if usual else ())  # type: ignore[union-attr]  # a workload's port
