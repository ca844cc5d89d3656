"""The four parts of a leak test, each proved, broken or left open, with the numbers that say so.

A part is proved only where what was read excludes the contrary: what could not be read leaves it open, and says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ringfence.fabric.leak.accounts import Accounts, accounts, fabric_links, of, other_links, total, unaccounted
from ringfence.fabric.leak.seen import LOOPBACK, Asked, Count, Owner, Seen, Socket

MOST = 4  # interfaces, processes or proxies that are named
TWICE = 20  # one in so many bytes of a socket may have come twice, which no socket counts
ETHERNET = 18  # bytes of header, with a VLAN's, that an interface counts and the filter does not
FABRIC, CONTROL, PROXIES, STRANGERS = "fabric", "control", "proxies", "strangers"
CLAIMS = {
    FABRIC: "the collective crossed the fabric",
    CONTROL: "no collective byte crossed another interface",
    PROXIES: "no collective byte crossed a proxy or any other process",
    STRANGERS: "no other traffic crossed the fabric",
}


class Verdict(Enum):
    """What became of a claim."""

    PROVED = "proved"
    LEAK = "leak"
    OPEN = "not proved"


@dataclass(frozen=True, slots=True)
class Part:
    """One claim: *because* is what decided, *figures* is what was counted."""

    name: str
    verdict: Verdict
    because: str
    figures: tuple[str, ...] = ()

    @property
    def claim(self) -> str:
        """What is proved, broken or open."""
        return CLAIMS[self.name]


def judge(seen: Seen, asked: Asked) -> tuple[Part, ...]:
    """The four parts, in the order of CLAIMS."""
    held = accounts(seen, asked)
    return _fabric(seen, asked, held), _control(seen, asked, held), _proxies(seen, asked, held), _strangers(
        seen, asked, held
    )  # fmt: skip


def _fabric(seen: Seen, asked: Asked, held: Accounts) -> Part:
    """Where nothing moved, nothing else of this says anything."""
    links = fabric_links(seen, asked)
    figures = [f"{one.name} received {one.received:,} and sent {one.sent:,} bytes" for one in links]
    figures += [f"{name} moved {count:,} bytes of RDMA" for name, count in seen.rdma.items()]
    if not asked.sockets:
        moved = sum(seen.rdma.values())
        if not seen.rdma:
            return Part(FABRIC, Verdict.OPEN, "no active RDMA port was counted", tuple(figures))
        return _moved(moved, "the adapters moved", asked, figures)
    if seen.sockets is None:
        return Part(FABRIC, Verdict.OPEN, "the job's sockets could not be read", tuple(figures))
    mine = total(of(held.on_fabric, Owner.JOB))
    return _moved(min(mine, sum(one.total for one in links)), "the job's sockets moved", asked, figures)


def _moved(moved: int, what: str, asked: Asked, figures: list[str]) -> Part:
    verdict = Verdict.PROVED if moved > asked.tolerance else Verdict.OPEN
    less = "" if moved > asked.tolerance else f": no more than the tolerance of {asked.tolerance:,}"
    return Part(FABRIC, verdict, f"{what} {moved:,} bytes there{less}", tuple(figures))


def _control(seen: Seen, asked: Asked, held: Accounts) -> Part:
    others = other_links(seen, asked)
    moved = sum(one.total for one in others)
    mine = of(held.elsewhere, Owner.JOB)
    figures = [f"{one.name} moved {one.total:,} bytes" for one in others[:MOST]]
    # 1. Counters of interfaces bound what any process can have sent there.
    if moved <= asked.tolerance:
        return Part(CONTROL, Verdict.PROVED, f"all of them together moved {moved:,} bytes", tuple(figures))
    # 2. Above that, sockets tell whose it was.
    figures += _named(mine)
    if total(mine) > asked.tolerance:
        return Part(CONTROL, Verdict.LEAK, f"the job's sockets moved {total(mine):,} bytes there", tuple(figures))
    # 3. What cannot be told apart proves nothing.
    if why := _blind(seen):
        return Part(CONTROL, Verdict.OPEN, f"they moved {moved:,} bytes, and {why}", tuple(figures))
    unseen = total(of(held.elsewhere, Owner.UNKNOWN))
    unknown = sum(unaccounted(others, held.elsewhere)) + unseen
    if unknown > asked.tolerance:
        because = f"they moved {moved:,} bytes, of which {unknown:,} are in no socket whose process was seen"
        return Part(CONTROL, Verdict.OPEN, because, tuple(figures))
    because = (
        f"of {moved:,} bytes that they moved {total(mine):,} are the job's, the rest is in other processes' sockets"
    )
    return Part(CONTROL, Verdict.PROVED, because, tuple(figures))


def _proxies(seen: Seen, asked: Asked, held: Accounts) -> Part:
    loopback = sum(one.sent for one in seen.links if one.name == LOOPBACK)
    counted = sum(one.total for one in seen.proxies)
    taken = sum(mine.total for mine, _ in held.between)
    figures = [f"lo carried {loopback:,} bytes", *_of_proxies(seen), *_takers(held)]
    # 1. Whoever answered the job on this node for a peer stood in the way.
    if taken > asked.tolerance:
        because = f"{taken:,} bytes of the job's sockets ended at another process of this node"
        return Part(PROXIES, Verdict.LEAK, because, tuple(figures))
    # 2. Proxies that count are believed.
    if counted > asked.tolerance:
        because = f"proxies exchanged {counted:,} bytes with their upstreams"
        return Part(PROXIES, Verdict.LEAK, because, tuple(figures))
    # 3. A process between two ranks is reached by loopback: what that carried bounds it, whoever it was.
    if loopback <= asked.tolerance:
        return Part(PROXIES, Verdict.PROVED, f"lo carried {loopback:,} bytes, proxies {counted:,}", tuple(figures))
    if why := _blind(seen):
        return Part(PROXIES, Verdict.OPEN, f"lo carried {loopback:,} bytes, and {why}", tuple(figures))
    inside = total(of(held.inside, Owner.UNKNOWN)) // 2
    unknown = inside + unaccounted((one for one in seen.links if one.name == LOOPBACK), held.inside)[1]
    if unknown > asked.tolerance:
        because = f"lo carried {unknown:,} bytes that are in no socket whose process was seen"
        return Part(PROXIES, Verdict.OPEN, because, tuple(figures))
    return Part(
        PROXIES, Verdict.PROVED, f"{taken:,} bytes of the job's ended at another process of this node", tuple(figures)
    )


def _strangers(seen: Seen, asked: Asked, held: Accounts) -> Part:
    neighbours = _neighbours(seen, asked)
    foreign, unseen = of(held.on_fabric, Owner.OTHER, Owner.PROXY), of(held.on_fabric, Owner.UNKNOWN)
    figures = [*_named([*foreign, *unseen]), *_filtered(seen, asked)]
    # 1. Sockets that are not the job's; those of other jobs that may be there are counted by the fabric's filter.
    if total(foreign) - neighbours.bytes > asked.tolerance:
        because = f"sockets that are not the job's moved {total(foreign):,} bytes on the fabric"
        return Part(STRANGERS, Verdict.LEAK, because, tuple(figures))
    # 2. What an adapter moves has no socket, and no counter says whose it is.
    if not asked.sockets:
        because = "counters of adapters do not say whose queue pairs moved their bytes"
        return Part(STRANGERS, Verdict.OPEN, because, tuple(figures))
    if why := _blind(seen):
        return Part(STRANGERS, Verdict.OPEN, why, tuple(figures))
    # 3. Whatever is in no socket at all, and was not let through between members.
    unknown = sum(map(min, _outside_sockets(seen, asked, held), _outside_filter(seen, asked)))
    if unknown > asked.tolerance:
        because = f"{unknown:,} bytes on the fabric are in no socket of the job's"
        return Part(STRANGERS, Verdict.LEAK, because, tuple(figures))
    # 4. A socket that came and went between two looks may have been anybody's.
    if total(unseen) + unknown > asked.tolerance:
        because = f"{total(unseen):,} bytes were moved by sockets that were closed before anybody saw whose they were"
        return Part(STRANGERS, Verdict.OPEN, because, tuple(figures))
    beside = f", beside {neighbours.bytes:,} of other jobs" if neighbours.bytes else ""
    because = f"{total(foreign) + total(unseen) + unknown:,} bytes on the fabric are not the job's{beside}"
    return Part(STRANGERS, Verdict.PROVED, because, tuple(figures))


def _outside_sockets(seen: Seen, asked: Asked, held: Accounts) -> tuple[int, int]:
    """Bytes that the fabric's interfaces received and sent, and no socket; the filter's drops went nowhere."""
    received, sent = unaccounted(fabric_links(seen, asked), held.on_fabric)
    twice = sum(one.received for one in held.on_fabric) // TWICE
    refused = seen.filter.refused_in if seen.filter else Count()
    return max(received - twice - refused.bytes - ETHERNET * refused.packets, 0), sent


def _outside_filter(seen: Seen, asked: Asked) -> tuple[int, int]:
    """Bytes that the fabric's interfaces received and sent, and that the filter did not count between members."""
    links = fabric_links(seen, asked)
    received = sum(one.received - ETHERNET * one.packets_in for one in links)
    sent = sum(one.sent - ETHERNET * one.packets_out for one in links)
    if seen.filter is None:
        return received, sent
    came = sum(count.bytes for count in (*seen.filter.incoming.values(), seen.filter.refused_in))
    went = sum(count.bytes for count in seen.filter.outgoing.values())
    return max(received - came, 0), max(sent - went, 0)


def _blind(seen: Seen) -> str:
    """Why sockets do not tell whose bytes an interface counted; empty where they do."""
    if seen.sockets is None:
        return "sockets could not be read"
    return "" if seen.complete else "what sockets had at their end was not told: run it with CAP_NET_ADMIN"


def _neighbours(seen: Seen, asked: Asked) -> Count:
    """What the filter let other jobs send and receive."""
    counted = Count()
    for by_job in (seen.filter.incoming, seen.filter.outgoing) if seen.filter else ():
        for job, count in by_job.items():
            counted += count if job != asked.job else Count()
    return counted


def _named(sockets: list[Socket]) -> list[str]:
    return [
        f"{one.who or one.owner.value} moved {one.total:,} bytes from {one.local} to {one.peer}:{one.peer_port}"
        for one in sockets[:MOST]
        if one.total
    ]


def _takers(held: Accounts) -> list[str]:
    largest = sorted(held.between, key=lambda pair: -pair[0].total)[:MOST]
    return [
        f"{mine.who} with {mine.peer}:{mine.peer_port} has {other.who or other.owner.value} at its other end, "
        f"{other.local}:{other.local_port}: {mine.total:,} bytes"
        for mine, other in largest
    ]


def _of_proxies(seen: Seen) -> list[str]:
    largest = sorted(seen.proxies, key=lambda one: -one.total)[:MOST]
    return [f"proxy {one.name} exchanged {one.total:,} bytes with its upstreams" for one in largest]


def _filtered(seen: Seen, asked: Asked) -> list[str]:
    if seen.filter is None:
        return ["the fabric has no packet filter of Ringfence's here"]
    came, went = (by.get(asked.job, Count()) for by in (seen.filter.incoming, seen.filter.outgoing))
    told = [f"the filter counted {came.bytes:,} bytes in and {went.bytes:,} out between members of {asked.job}"]
    for what, count in (
        ("coming in", seen.filter.refused_in),
        ("going out", seen.filter.refused_out),
        ("by another interface", seen.filter.astray),
    ):
        if count.packets:
            told.append(f"the filter refused {count.packets:,} packets {what}, {count.bytes:,} bytes")
    return told
