"""What gRPC asks for by name: a server by the address that it listens on, a client by the target that it dials."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

from ringfence.policy.scope import Upstream
from ringfence.xds.instance import Address

# `server_listener_resource_name_template` of the bootstrap (gRFC A36); %s is ADDRESS:PORT as the server binds it.
SERVER_TEMPLATE = "grpc/server?xds.resource.listening_address=%s"
PROVIDER = "ringfence"  # the certificate provider instance of the bootstrap (gRFC A29)
_ANYWHERE = ("0.0.0.0", "::")  # noqa: S104  # a server that binds all addresses asks for its listener by one of these


def bound(address: Address) -> Iterator[Address]:
    """The addresses by which a server that is reached at *address* may have bound its port."""
    yield address
    for host in _ANYWHERE:
        if host != address[0]:
            yield host, address[1]


def listener_name(address: Address) -> str:
    """The listener that a server bound to *address* asks for."""
    host, port = address
    return SERVER_TEMPLATE % (f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def served_by(names: frozenset[str], inbound: Mapping[str, Address]) -> dict[str, Address]:
    """The ports of *inbound* whose listener is among *names*: those that a server of the process has bound."""
    return {port: at for port, at in inbound.items() if any(listener_name(one) in names for one in bound(at))}


def target(upstream: Upstream) -> str:
    """`registry.shared:rpc`, for `grpc.secure_channel("xds:///registry.shared:rpc", ...)`."""
    return upstream.name.replace("/", ":")


def is_ip(host: str) -> bool:
    """Whether gRPC takes *host* as an endpoint: it refuses the whole assignment for one name in it."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
