"""Which sockets account for which bytes: of the job, of a process between its ranks, of strangers, on what way."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from ringfence.fabric.doctor.bounded import Address, address
from ringfence.fabric.leak.seen import LOOPBACK, Asked, Link, Owner, Seen, Socket

# Bytes that a segment can have beside its payload: Ethernet 14, IPv6 40, TCP with all options 60 (RFC 9293).
HEADERS = 114


@dataclass(frozen=True, slots=True)
class Accounts:
    """The sockets of a node by the way that their bytes take."""

    on_fabric: tuple[Socket, ...]  # by the fabric's interfaces
    elsewhere: tuple[Socket, ...]  # by another interface that leaves the node
    inside: tuple[Socket, ...]  # both ends on this node
    between: tuple[tuple[Socket, Socket], ...]  # a socket of the job, and the one of somebody else at its other end


def accounts(seen: Seen, asked: Asked) -> Accounts:
    """Where each socket of *seen* belongs."""
    sockets = seen.sockets or ()
    ends = {(one.peer, one.peer_port): one for one in sockets}
    own = {address(text) for texts in seen.own.values() for text in texts}
    fabric: list[Socket] = []
    elsewhere: list[Socket] = []
    inside: list[Socket] = []
    between: list[tuple[Socket, Socket]] = []
    for one in sockets:
        # What answers from this node has the end that this one opened from, whatever it was that this one dialled.
        other = ends.get((one.local, one.local_port))
        if other is not None or _stays(one, own):
            inside.append(one)
        elif asked.on_fabric(seen, one.local) or asked.on_fabric(seen, one.peer):
            fabric.append(one)
        else:
            elsewhere.append(one)
        if other is not None and one.owner is Owner.JOB and other.owner in {Owner.OTHER, Owner.PROXY}:
            between.append((one, other))
    return Accounts(tuple(fabric), tuple(elsewhere), tuple(inside), tuple(between))


def _stays(one: Socket, own: AbstractSet[Address | None]) -> bool:
    peer = address(one.peer)
    return peer is None or peer.is_loopback or peer in own


def of(sockets: Iterable[Socket], *owners: Owner) -> list[Socket]:
    """Those of *owners*, the largest first."""
    return sorted((one for one in sockets if one.owner in owners), key=lambda one: -one.total)


def total(sockets: Iterable[Socket]) -> int:
    """Payload both ways."""
    return sum(one.total for one in sockets)


def unaccounted(links: Iterable[Link], sockets: Iterable[Socket]) -> tuple[int, int]:
    """Bytes that *links* received and sent and that *sockets* do not explain, with all headers that they may have."""
    held, counted = tuple(sockets), tuple(links)
    # An interface may count what the kernel puts together or the adapter cuts: headers are as many as the fewer.
    heads_in = min(sum(one.packets_in for one in counted), sum(one.segments_in for one in held))
    heads_out = min(sum(one.packets_out for one in counted), sum(one.segments_out for one in held))
    received = sum(one.received for one in counted) - sum(one.received for one in held) - heads_in * HEADERS
    sent = sum(one.sent for one in counted) - sum(one.sent for one in held) - heads_out * HEADERS
    return max(received, 0), max(sent, 0)


def fabric_links(seen: Seen, asked: Asked) -> tuple[Link, ...]:
    """The fabric's interfaces."""
    return tuple(one for one in seen.links if one.name in asked.interfaces)


def other_links(seen: Seen, asked: Asked) -> tuple[Link, ...]:
    """All others that lead off the node, the busiest first."""
    others = (one for one in seen.links if one.name not in {*asked.interfaces, LOOPBACK})
    return tuple(sorted(others, key=lambda one: -one.total))
