"""Who is at the other end: the credentials that the kernel or TLS vouches for, taken once at accept."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import struct
import sys
from dataclasses import dataclass, replace

# asm-generic/socket.h; the socket module has no name for it. Linux 6.5 and later.
SO_PEERPIDFD = 77
_UCRED = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer. The pidfd lives as long as its connection: whoever keeps it longer duplicates it.

    `pidfd_from` says how it was got: `socket` (SO_PEERPIDFD: the very process that connected), `pid` (pidfd_open on
    an older kernel: check the start time before and after) or empty. `certificate` is the DER leaf that the TLS
    context verified, `chain` all that was sent with it, leaf first, of which TLS verified what it needed.
    """

    address: str
    pid: int | None = None
    uid: int | None = None
    gid: int | None = None
    pidfd: int | None = None
    pidfd_from: str = ""
    certificate: bytes | None = None
    chain: tuple[bytes, ...] = ()

    @property
    def is_local(self) -> bool:
        """Whether it came by a Unix socket, so that the kernel said who it is."""
        return self.uid is not None

    @property
    def is_known(self) -> bool:
        """Whether it proved who it is: by a certificate, or by being a process of this host."""
        return self.certificate is not None or self.is_local


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


def tls_peer(peer: Peer, tls: ssl.SSLObject) -> Peer:
    """*peer* after its handshake; without a certificate when the client gave none."""
    return replace(peer, certificate=tls.getpeercert(binary_form=True) or None, chain=_chain(tls))


def _chain(tls: ssl.SSLObject) -> tuple[bytes, ...]:
    if sys.version_info >= (3, 13):
        return tuple(tls.get_unverified_chain() or ())
    # Until Python 3.13 only the object below has it, which gives nothing, or None alone, when no certificate was sent.
    sent = tls._sslobj.get_unverified_chain()  # type: ignore[attr-defined]  # noqa: SLF001
    return tuple(ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in sent or () if each)
