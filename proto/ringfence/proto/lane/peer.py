"""Who is at the other end: the credentials that the kernel or TLS vouches for, taken once at accept."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import struct
from dataclasses import dataclass

# asm-generic/socket.h; the socket module has no name for it. Linux 6.5 and later.
SO_PEERPIDFD = 77
_UCRED = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer. The pidfd lives as long as its connection: whoever keeps it longer duplicates it.

    `pidfd_from` says how it was got: `socket` (SO_PEERPIDFD: the very process that connected), `pid` (pidfd_open on
    an older kernel: check the start time before and after) or empty. `certificate` is the DER leaf that the TLS
    context verified.
    """

    address: str
    pid: int | None = None
    uid: int | None = None
    gid: int | None = None
    pidfd: int | None = None
    pidfd_from: str = ""
    certificate: bytes | None = None


def unix_peer(sock: socket.socket, address: str) -> Peer:
    """The process that connected *sock*, as it was then (unix(7), SO_PEERCRED); raises OSError."""
    pid, uid, gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    # A peer in another pid namespace has pid 0 here: there is nothing to refer to.
    pidfd, how = _pidfd(sock, pid) if pid > 0 else (None, "")
    return Peer(address, pid=pid, uid=uid, gid=gid, pidfd=pidfd, pidfd_from=how)


def _pidfd(sock: socket.socket, pid: int) -> tuple[int | None, str]:
    try:
        return sock.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD), "socket"
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            return None, ""  # the process is gone already
    try:
        return os.pidfd_open(pid), "pid"
    except OSError:
        return None, ""


def tls_peer(address: str, tls: ssl.SSLObject) -> Peer:
    """The peer of a finished handshake; without a certificate when the client gave none."""
    return Peer(address, certificate=tls.getpeercert(binary_form=True) or None)
