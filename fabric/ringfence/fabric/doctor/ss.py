"""TCP sockets as `ss -tinpH` and `ss -tainpH` print them: a line a socket, then an indented one of its figures."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from ringfence.fabric.doctor.bounded import MAX_ROWS, decimal, lines, whole

_OWNER = re.compile(r'users:\(\("([^"]{1,64})",pid=(\d{1,10})')
_UID = re.compile(r"\buid:(\d{1,10})\b")
_FIGURE = re.compile(r"(?:^|\s)(rtt|mss|pmtu|retrans|bytes_sent|bytes_acked):([0-9./]{1,40})")
_ENDS = 5  # state, two queues, the address here, the address there
_STATE = re.compile(r"[A-Z][A-Z0-9-]{2,15}")


@dataclass(frozen=True, slots=True)
class Socket:
    """One socket; *local* and *peer* are addresses without port, `*` for every one; rtt is in milliseconds."""

    line: int
    state: str
    local: str
    local_port: int
    peer: str
    peer_port: int
    interface: str = ""  # that it is bound to: addr%eth0
    owner: str = ""  # the name of the process
    pid: int = 0
    uid: int | None = None
    rtt: float | None = None
    mss: int | None = None
    pmtu: int | None = None
    retransmitted: int = 0  # segments over the socket's life
    sent: int = 0  # bytes


@dataclass(frozen=True, slots=True)
class Sockets:
    """Those of one text, read from *path*."""

    path: str
    found: tuple[Socket, ...]


def sockets(text: str, path: str) -> Sockets:
    """The sockets that *text* from *path* lists; a figure belongs to the socket above it, or on its own line."""
    found: list[Socket] = []
    for number, line in lines(text):
        if line[:1].isspace():
            if found:
                found[-1] = _with_figures(found[-1], line)
        elif len(found) < MAX_ROWS and (socket := _socket(number, line)):
            found.append(_with_figures(socket, line))
    return Sockets(path, tuple(found))


def _socket(number: int, line: str) -> Socket | None:
    cells = line.split()
    if len(cells) < _ENDS or not _STATE.fullmatch(cells[0]):
        return None
    local, peer = _end(cells[3]), _end(cells[4])
    if local is None or peer is None:
        return None
    owner, uid = _OWNER.search(line), _UID.search(line)
    return Socket(
        number,
        cells[0],
        local[0],
        local[2],
        peer[0],
        peer[2],
        local[1],
        owner.group(1) if owner else "",
        int(owner.group(2)) if owner else 0,
        int(uid.group(1)) if uid else None,
    )


def _end(text: str) -> tuple[str, str, int] | None:
    """Address, interface and port of one end; the port of a listener's peer is a star."""
    host, colon, port = text.rpartition(":")
    number = 0 if port == "*" else whole(port)
    if not colon or number is None:
        return None
    bare, _, interface = host.strip("[]").partition("%")
    every = {"0.0.0.0", "::", ""}  # noqa: S104 - read, not bound to
    return ("*" if bare in every else bare.rstrip("]")), interface.rstrip("]"), number


def _with_figures(socket: Socket, line: str) -> Socket:
    told = dict(_FIGURE.findall(line))
    if not told:
        return socket
    return replace(
        socket,
        rtt=decimal(told.get("rtt", "").partition("/")[0]) if "rtt" in told else socket.rtt,
        mss=whole(told.get("mss")) or socket.mss,
        pmtu=whole(told.get("pmtu")) or socket.pmtu,
        retransmitted=whole(told.get("retrans", "").rpartition("/")[2]) or socket.retransmitted,
        sent=whole(told.get("bytes_sent")) or whole(told.get("bytes_acked")) or socket.sent,
    )
