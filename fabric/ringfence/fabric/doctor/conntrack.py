"""Connections that the kernel tracks, as `conntrack -L` and /proc/net/nf_conntrack print them.

A flow has two tuples: how its first packet went, and how the answer comes back. Where the second is not the first one
turned round, somebody rewrote addresses: a redirect to a proxy, or NAT.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ringfence.fabric.doctor.bounded import MAX_ROWS, lines

_TUPLE = re.compile(
    r"src=([0-9A-Fa-f.:]{1,45}) dst=([0-9A-Fa-f.:]{1,45}) (?:type=\S+ code=\S+ id=\S+|sport=(\d{1,5}) dport=(\d{1,5}))"
)
_PROTOCOL = re.compile(r"(?:^|\s)(tcp|udp|icmp|icmpv6|sctp|gre|dccp)\s")


@dataclass(frozen=True, slots=True)
class Way:
    """One tuple: from where to where; the ports of a protocol without any are 0."""

    source: str
    destination: str
    source_port: int
    destination_port: int


@dataclass(frozen=True, slots=True)
class Flow:
    """A tracked connection."""

    line: int
    protocol: str
    original: Way
    reply: Way

    @property
    def redirected(self) -> bool:
        """Whether the answer comes from another place than the one that was called."""
        called = (self.original.destination, self.original.destination_port)
        return called != (self.reply.source, self.reply.source_port)


@dataclass(frozen=True, slots=True)
class Flows:
    """Those of one text, read from *path*."""

    path: str
    found: tuple[Flow, ...]


def flows(text: str, path: str) -> Flows:
    """The connections that *text* from *path* lists; a line without two tuples is none."""
    found: list[Flow] = []
    for number, line in lines(text):
        protocol, ways = _PROTOCOL.search(line), _TUPLE.findall(line)
        if protocol and len(ways) > 1 and len(found) < MAX_ROWS:
            found.append(Flow(number, protocol.group(1), _way(ways[0]), _way(ways[1])))
    return Flows(path, tuple(found))


def _way(told: tuple[str, str, str, str]) -> Way:
    return Way(told[0], told[1], int(told[2] or 0), int(told[3] or 0))
