"""Echo requests to one peer by one interface: of any size, unfragmented, and across as many routers as wanted.

ICMP answers come from the peer's kernel: nothing has to listen there, and the packet filter of a fabric lets them pass
between members. Linux takes them from a datagram socket (`net.ipv4.ping_group_range`) or, with CAP_NET_RAW, a raw one.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from ipaddress import ip_address
from types import TracebackType
from typing import Self

from ringfence.certs.errors import Kind, RingfenceError

# linux/in.h and in6.h, which Python does not have.
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PROBE = 10, 23, 3  # set DF, and do not believe what was learnt of the path
_HEADER = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence (RFC 792, RFC 4443)
_REQUEST = {4: 8, 6: 128}
_REPLY = {4: 0, 6: 129}
_IP_BYTES = {4: 20, 6: 40}
_HOP_LIMIT = 64


class Echo:
    """A socket for echo requests to *peer* that leave by *interface*; raises DENIED without leave to open one."""

    def __init__(self, peer: str, interface: str) -> None:
        self._peer, self._version = peer, ip_address(peer).version
        self._sequence = 0
        self.sent = 0
        self._socket, self._raw = _opened(self._version, interface)
        self._identifier = os.getpid() & 0xFFFF

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    @property
    def smallest(self) -> int:
        """Bytes of an echo request with nothing in it."""
        return _IP_BYTES[self._version] + _HEADER.size

    def ask(self, size: int, seconds: float, hop_limit: int = _HOP_LIMIT) -> float | None:
        """Seconds until the answer to a packet of *size* bytes, all headers included; None where none came.

        Without time to wait nothing is sent.
        """
        if seconds <= 0:
            return None
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._limit(hop_limit)
        started = time.monotonic()
        try:
            self._socket.sendto(self._request(size), (self._peer, 0))
            self.sent += 1
            return self._answer(started, seconds)
        except OSError:  # larger than the interface takes, or the kernel knows no way: as good as no answer
            return None

    def _request(self, size: int) -> bytes:
        data = bytes(max(size - self.smallest, 0))
        kind = _REQUEST[self._version]
        plain = _HEADER.pack(kind, 0, 0, self._identifier, self._sequence) + data
        return _HEADER.pack(kind, 0, _checksum(plain), self._identifier, self._sequence) + data

    def _answer(self, started: float, seconds: float) -> float | None:
        while (left := started + seconds - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                packet, sender = self._socket.recvfrom(65536)
            except TimeoutError:
                return None
            if self._raw and self._version == 4:  # noqa: PLR2004 - IPv4: the header is there, and says how long it is
                packet = packet[(packet[0] & 15) * 4 :]
            if self._is_mine(packet, sender[0]):
                return time.monotonic() - started
        return None

    def _is_mine(self, packet: bytes, sender: str) -> bool:
        """A datagram socket gets answers to its own requests alone, with an identifier of the kernel's."""
        if len(packet) < _HEADER.size or sender.partition("%")[0] != self._peer:
            return False
        kind, _, _, identifier, sequence = _HEADER.unpack_from(packet)
        mine = not self._raw or identifier == self._identifier
        return bool(kind == _REPLY[self._version] and mine and sequence == self._sequence)

    def _limit(self, hops: int) -> None:
        if self._version == 4:  # noqa: PLR2004 - IPv4
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
        else:
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)


def _opened(version: int, interface: str) -> tuple[socket.socket, bool]:
    family = socket.AF_INET if version == 4 else socket.AF_INET6  # noqa: PLR2004 - IPv4
    protocol = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6  # noqa: PLR2004 - IPv4
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        try:
            opened = socket.socket(family, kind, protocol)
        except PermissionError:
            continue
        return _set_up(opened, version, interface), kind == socket.SOCK_RAW
    hint = "Run it as root, or put this group into the sysctl net.ipv4.ping_group_range"
    raise RingfenceError(Kind.DENIED, "echo requests need CAP_NET_RAW", hint=hint)


def _set_up(opened: socket.socket, version: int, interface: str) -> socket.socket:
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        if version == 4:  # noqa: PLR2004 - IPv4
            opened.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PROBE)
        else:
            opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PROBE)
    except OSError:
        opened.close()
        raise
    return opened


def _checksum(data: bytes) -> int:
    """RFC 1071. The kernel writes its own where it knows better."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
