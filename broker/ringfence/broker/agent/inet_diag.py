"""Single TCP connections of this network namespace, found and destroyed by the kernel (sock_diag(7), inet_diag.h).

Destroying resets a connection at both of its ends, and takes CAP_NET_ADMIN and a kernel with CONFIG_INET_DIAG_DESTROY.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self

_NETLINK_SOCK_DIAG = 4
_BY_FAMILY, _DESTROY = 20, 21  # SOCK_DIAG_BY_FAMILY, SOCK_DESTROY
_REQUEST, _ACK, _DUMP = 1, 4, 0x300  # NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP
_ERROR, _DONE = 2, 3  # NLMSG_ERROR, NLMSG_DONE
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_REQ = struct.Struct("=BBBxI")  # inet_diag_req_v2 before its id: family, protocol, extensions, states
_ID = struct.Struct("=2s2s16s16sI8s")  # inet_diag_sockid: ports and addresses in network order, interface, cookie
_MSG = struct.Struct("=4x48x12xII")  # inet_diag_msg from its start: uid, inode
_ANY_STATE = 0xFFFFFFFF
_OPEN = 1 << 1 | 1 << 8  # TCP_ESTABLISHED, TCP_CLOSE_WAIT
_ANY_COOKIE = b"\xff" * 8  # INET_DIAG_NOCOOKIE
_WAIT = 1.0  # seconds that the kernel may take to answer, which is a moment

Address = tuple[str, int]  # IP and port
_NOBODY: Address = ("127.0.0.1", 1)


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection as the kernel tells it: whose it is, and the cookie by which it is never taken for another."""

    local: Address
    remote: Address
    uid: int
    cookie: bytes


class InetDiag:
    """A netlink socket; close it. Every call is a system call or two and raises OSError for what the kernel refuses."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)
        self._socket.settimeout(_WAIT)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()

    def find(self, local: Address, remote: Address) -> Connection | None:
        """The connection between these two addresses, seen from *local*; None where there is none."""
        try:
            found = _connection(self._ask(_BY_FAMILY, _REQUEST, local, remote, _ANY_COOKIE))
        except FileNotFoundError:
            return None
        # Where the connection is gone, the kernel tells who listens there: to destroy that would close the port.
        return found if (found.local, found.remote) == (local, remote) else None

    def open_connections(self) -> list[Connection]:
        """All that are open in this network namespace, each at both of its ends where both are here."""
        found: list[Connection] = []
        for family in (socket.AF_INET, socket.AF_INET6):
            asked = _REQ.pack(family, socket.IPPROTO_TCP, 0, _OPEN) + bytes(_ID.size)
            self._send(_BY_FAMILY, _REQUEST | _DUMP, asked)
            done = False
            while not done:
                for kind, message in self._messages():
                    done = done or kind == _DONE
                    found += [_connection(message)] if kind == _BY_FAMILY else []
        return found

    def destroy(self, connection: Connection) -> bool:
        """Reset it; whether it was still there."""
        try:
            self._ask(_DESTROY, _REQUEST | _ACK, connection.local, connection.remote, connection.cookie)
        except FileNotFoundError:
            return False
        return True

    def why_not(self) -> str:
        """Why no connection of ours can be destroyed; empty when it can."""
        try:
            self._ask(_DESTROY, _REQUEST | _ACK, _NOBODY, _NOBODY, _ANY_COOKIE)
        except FileNotFoundError:  # leave was given, and there is no such connection
            return ""
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def _ask(self, kind: int, flags: int, local: Address, remote: Address, cookie: bytes) -> bytes:
        family, near = _packed(local[0])
        _, far = _packed(remote[0])
        ports = local[1].to_bytes(2, "big"), remote[1].to_bytes(2, "big")
        asked = _REQ.pack(family, socket.IPPROTO_TCP, 0, _ANY_STATE) + _ID.pack(*ports, near, far, 0, cookie)
        self._send(kind, flags, asked)
        while not (answers := self._messages()):
            pass
        return answers[0][1]

    def _send(self, kind: int, flags: int, asked: bytes) -> None:
        self._sequence += 1
        self._socket.send(_HEADER.pack(_HEADER.size + len(asked), kind, flags, self._sequence, 0) + asked)

    def _messages(self) -> list[tuple[int, bytes]]:
        """What came next, each by its type; nothing for an answer to what was given up on. Raises what is an error."""
        data, found = self._socket.recv(1 << 17), []
        while data:
            length, kind, _, sequence, _ = _HEADER.unpack_from(data)
            body, data = data[_HEADER.size : length], data[(length + 3) & ~3 :]
            if sequence != self._sequence:
                continue
            if kind == _ERROR and (code := -struct.unpack_from("=i", body)[0]):
                raise OSError(code, os.strerror(code))
            found.append((kind, body))
        return found


def _connection(message: bytes) -> Connection:
    """An inet_diag_msg."""
    family = message[0]
    sport, dport, near, far, _, cookie = _ID.unpack_from(message, 4)
    size = 4 if family == socket.AF_INET else 16
    (uid, _), ends = _MSG.unpack_from(message), ((near, sport), (far, dport))
    local, remote = ((str(ip_address(at[:size])), int.from_bytes(port, "big")) for at, port in ends)
    return Connection(local, remote, uid, cookie)


def _packed(address: str) -> tuple[int, bytes]:
    parsed = ip_address(address)
    family = socket.AF_INET if parsed.version == 4 else socket.AF_INET6  # noqa: PLR2004  # IPv4
    return family, parsed.packed.ljust(16, b"\0")
