"""Where a broker finds the Broker API: the value of SPIFFE_BROKER_SOCKET (SPIFFE_Broker_Endpoint.md section 4)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address

from ringfence.certs.errors import Kind, RingfenceError

VARIABLE = "SPIFFE_BROKER_SOCKET"
# RFC 3986: no authority, an absolute path, and neither query nor fragment.
_UNIX = re.compile(r"unix:(?://)?(/[^/?#\s][^?#\s]*)")
_TCP = re.compile(r"tcp://(?:\[([0-9a-fA-F:.]+)\]|([a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?)):([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """A Unix socket's `path`, or a `host` (name or address) and a `port`."""

    path: str = ""
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> BrokerAddress:
        """From `unix:///PATH` or `tcp://HOST:PORT`; raises INVALID for whatever else."""
        if unix := _UNIX.fullmatch(text):
            return cls(path=unix[1])
        tcp = _TCP.fullmatch(text)
        if tcp is None or not 0 < int(tcp[4]) < 1 << 16 or (tcp[1] and not _is_ipv6(tcp[1])):
            raise RingfenceError(
                Kind.INVALID,
                f"{text!r} names no Broker API",
                where=VARIABLE,
                hint="Write unix:///run/ringfence-brokers/broker.sock or tcp://HOST:PORT, and nothing after it",
            )
        return cls(host=tcp[1] or tcp[2], port=int(tcp[4]))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"unix://{self.path}" if self.path else f"tcp://{host}:{self.port}"


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True
