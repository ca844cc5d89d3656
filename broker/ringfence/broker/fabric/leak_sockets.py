"""What each TCP socket of this network namespace has moved, and what it had when it was closed (sock_diag(7)).

The kernel tells the end of every socket to whoever listens for it with CAP_NET_ADMIN, with its last figures: those of a
job that has ended are lost to nobody. Source: linux/inet_diag.h, linux/tcp.h, linux/sock_diag.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Self

_NETLINK_SOCK_DIAG = 4
_BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY
_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_ERROR, _DONE = 2, 3  # NLMSG_ERROR, NLMSG_DONE
_INFO = 2  # INET_DIAG_INFO, and 1 << (it - 1) to ask for it
_ENDS = (1, 3)  # SKNLGRP_INET_TCP_DESTROY, SKNLGRP_INET6_TCP_DESTROY
_ADD_MEMBERSHIP, _SOL_NETLINK, _RCVBUFFORCE = 1, 270, 33
_HEADER = struct.Struct("=IHHII")  # nlmsghdr
_REQUEST = struct.Struct("=BBBxI48x")  # inet_diag_req_v2: family, protocol, extensions, states
_MESSAGE = struct.Struct("=BBxx2s2s16s16sI8s12xII")  # inet_diag_msg
_ATTRIBUTE = struct.Struct("=HH")
_BYTES = struct.Struct("=QQII")  # of tcp_info from 120: bytes_acked, bytes_received, segs_out, segs_in
_BYTES_AT, _SENT_AT = 120, 200  # bytes_sent, since Linux 4.19
_CONNECTED = ~(1 << 10 | 1 << 6 | 1 << 12) & 0xFFF  # all states but LISTEN, TIME_WAIT and NEW_SYN_RECV
_WAIT = 2.0  # seconds that the kernel may take to answer, which is a moment
_BUFFER = 8 << 20  # bytes of ends that may wait to be read


@dataclass(frozen=True, slots=True)
class Figures:
    """One socket since it was made; the port of one that was closed is 0."""

    cookie: bytes  # the kernel's own name for it, which no other has
    local: str
    local_port: int
    peer: str
    peer_port: int
    uid: int
    inode: int  # 0: no process holds it any more
    sent: int  # bytes, those sent again among them
    received: int
    segments_out: int
    segments_in: int


class Ends:
    """Listens for the ends of sockets from its making on; raises PermissionError without CAP_NET_ADMIN."""

    def __init__(self) -> None:
        self._socket = _netlink()
        self.whole = True  # False once the kernel had to leave one out
        try:
            self._socket.bind((0, 0))  # a socket without an address of its own gets no multicast
            self._enlarge()
            for group in _ENDS:
                self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        except OSError:
            self._socket.close()
            raise
        self._socket.setblocking(False)

    def _enlarge(self) -> None:
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, _BUFFER)
        except PermissionError:  # root of a user namespace may listen, with what everybody may have
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def read(self) -> Iterator[Figures]:
        """All that ended since the last time."""
        while True:
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.whole = False
                continue
            yield from (found for kind, body in _messages(data) if kind == _BY_FAMILY and (found := _figures(body)))


def connected() -> list[Figures]:
    """Every socket that has a peer; raises OSError for what the kernel refuses."""
    found: list[Figures] = []
    with _netlink() as asking:
        asking.settimeout(_WAIT)
        for family in (socket.AF_INET, socket.AF_INET6):
            request = _REQUEST.pack(family, socket.IPPROTO_TCP, 1 << (_INFO - 1), _CONNECTED)
            asking.send(_HEADER.pack(_HEADER.size + len(request), _BY_FAMILY, _DUMP, 1, 0) + request)
            found += _answers(asking)
    return found


def _answers(asking: socket.socket) -> Iterator[Figures]:
    while True:
        for kind, body in _messages(asking.recv(1 << 17)):
            if kind == _DONE:
                return
            if kind == _ERROR and (code := -struct.unpack_from("=i", body)[0]):
                raise OSError(code, os.strerror(code))
            if kind == _BY_FAMILY and (found := _figures(body)):
                yield found


def _netlink() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data)
        yield kind, data[_HEADER.size : length]
        data = data[(max(length, _HEADER.size) + 3) & ~3 :]


def _figures(message: bytes) -> Figures | None:
    """Of an inet_diag_msg with its tcp_info; None where the kernel gave none."""
    family, _, sport, dport, near, far, _, cookie, uid, inode = _MESSAGE.unpack_from(message)
    told = _tcp_info(message[_MESSAGE.size :])
    if len(told) < _BYTES_AT + _BYTES.size:
        return None
    acknowledged, received, out, come = _BYTES.unpack_from(told, _BYTES_AT)
    sent = struct.unpack_from("=Q", told, _SENT_AT)[0] if len(told) >= _SENT_AT + 8 else acknowledged
    ports = int.from_bytes(sport, "big"), int.from_bytes(dport, "big")
    return Figures(
        cookie, _address(family, near), ports[0], _address(family, far), ports[1], uid, inode, sent, received, out, come
    )


def _tcp_info(attributes: bytes) -> bytes:
    while len(attributes) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(attributes)
        if kind == _INFO:
            return attributes[_ATTRIBUTE.size : length]
        attributes = attributes[(max(length, _ATTRIBUTE.size) + 3) & ~3 :]
    return b""


def _address(family: int, packed: bytes) -> str:
    found = ip_address(packed[:4] if family == socket.AF_INET else packed)
    return str((found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found)
