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
_REQUEST, _ACK = 1, 4  # NLM_F_REQUEST, NLM_F_ACK
_ERROR = 2  # NLMSG_ERROR
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_REQ = struct.Struct("=BBBxI")  # inet_diag_req_v2 before its id: family, protocol, extensions, states
_ID = struct.Struct("=2s2s16s16sI8s")  # inet_diag_sockid: ports and addresses in network order, interface, cookie
_MSG = struct.Struct("=4x48x12xII")  # inet_diag_msg from its start: uid, inode
_ANY_STATE = 0xFFFFFFFF
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
            answer = self._ask(_BY_FAMILY, _REQUEST, local, remote, _ANY_COOKIE)
        except FileNotFoundError:
            return None
        # Where the connection is gone, the kernel tells who listens there: to destroy that would close the port.
        if int.from_bytes(answer[6:8], "big") != remote[1]:
            return None
        uid, _ = _MSG.unpack_from(answer)
        return Connection(local, remote, uid, answer[4 + _ID.size - 8 : 4 + _ID.size])

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
        self._sequence += 1
        family, near = _packed(local[0])
        _, far = _packed(remote[0])
        ports = local[1].to_bytes(2, "big"), remote[1].to_bytes(2, "big")
        asked = _REQ.pack(family, socket.IPPROTO_TCP, 0, _ANY_STATE) + _ID.pack(*ports, near, far, 0, cookie)
        self._socket.send(_HEADER.pack(_HEADER.size + len(asked), kind, flags, self._sequence, 0) + asked)
        return self._answer()

    def _answer(self) -> bytes:
        """What follows the header of the answer; answers to what was given up on are passed over."""
        while True:
            data = self._socket.recv(65536)
            _, kind, _, sequence, _ = _HEADER.unpack_from(data)
            if sequence != self._sequence:
                continue
            if kind == _ERROR and (code := -struct.unpack_from("=i", data, _HEADER.size)[0]):
                raise OSError(code, os.strerror(code))
            return data[_HEADER.size :]


def _packed(address: str) -> tuple[int, bytes]:
    parsed = ip_address(address)
    family = socket.AF_INET if parsed.version == 4 else socket.AF_INET6  # noqa: PLR2004  # IPv4
    return family, parsed.packed.ljust(16, b"\0")
