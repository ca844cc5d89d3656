"""What the kernel tells of processes as it happens: that one runs a program now, or changed its user or group.

The process events connector (linux/cn_proc.h, linux/connector.h): netlink messages of the initial network namespace,
about pids of the initial PID namespace, to whoever may listen: CAP_NET_ADMIN, and since Linux 6.6 anybody.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

_CONNECTOR = 11  # NETLINK_CONNECTOR
_PROC = 1  # CN_IDX_PROC, CN_VAL_PROC and the multicast group
_LISTEN, _IGNORE = 1, 2  # enum proc_cn_mcast_op
_ACK, _EXEC, _UID, _GID = 0, 2, 4, 0x40  # struct proc_event.what
_NETLINK = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_MESSAGE = struct.Struct("=IIIIHH")  # struct cn_msg: idx, val, seq, ack, length, flags
_EVENT = struct.Struct(
    "=I4xQII"
)  # struct proc_event: what, when; of an id or exec: thread, process; of an ack: its error
_BODY = _NETLINK.size + _MESSAGE.size
_DONE = 3  # NLMSG_DONE
_ROOM = 4 << 20  # bytes that wait in the kernel, some 5,000 messages: an agent that is busy misses none
_LARGEST = 4096  # bytes of a message; ours have 76
_A_READ = 256  # messages at a time, a millisecond of work
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33  # asm-generic/socket.h
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K


class MessagesLostError(Exception):
    """More happened than was read: what is known of any process may be out of date (netlink(7), ENOBUFS)."""


@dataclass(frozen=True, slots=True)
class Event:
    """Process *pid* executed a program, or else changed its user or group; *at* in ns of time.monotonic_ns."""

    pid: int
    executed: bool
    at: int


class ProcessEvents:
    """An open source of events; whoever has it reads when `fileno` can be read, and closes it."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    @classmethod
    def open(cls) -> ProcessEvents:
        """Listen from now on; raises OSError where the kernel tells us nothing."""
        sock = socket.socket(
            socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, _CONNECTOR
        )
        try:
            # 1. Of all that happens to processes, let the kernel give us these few things.
            _attach_filter(sock)
            _make_room(sock)
            sock.bind((0, _PROC))
            # 2. Ask. It answers before the call returns, and says nothing to who is in another PID or user namespace,
            #    who would get what others asked for all the same: messages about pids that are not ours.
            number = int.from_bytes(os.urandom(3), "big")  # to know our answer among others'
            sock.sendto(_request(_LISTEN, number), (0, 0))
            _expect_ack(sock, number)
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    def fileno(self) -> int:
        """What can be read when there are events."""
        return self._socket.fileno()

    def read(self) -> Iterator[Event]:
        """Some of the events that wait; raises MessagesLostError after them, OSError when there will be no more."""
        for _ in range(_A_READ):
            try:
                data, (port, _) = self._socket.recvfrom(_LARGEST)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    raise MessagesLostError from error
                raise
            if port == 0 and (event := parse(data)) is not None:  # 0: from the kernel
                yield event

    def close(self) -> None:
        """Listen no more."""
        with suppress(OSError):  # older kernels go on making messages for who has left without a word
            self._socket.sendto(_request(_IGNORE, 0), (0, 0))
        self._socket.close()


def parse(data: bytes) -> Event | None:
    """The event in one netlink message, None if it is of no concern."""
    found = _parts(data)
    if found is None or found[1] not in {_EXEC, _UID, _GID}:
        return None
    _, what, at, _, process = found
    return Event(process, what == _EXEC, at)


def _parts(data: bytes) -> tuple[int, int, int, int, int] | None:
    """What it acknowledges, what happened, when, and the two numbers behind that."""
    if len(data) < _BODY + _EVENT.size:
        return None
    idx, val, _, acknowledged, _, _ = _MESSAGE.unpack_from(data, _NETLINK.size)
    if (idx, val) != (_PROC, _PROC):
        return None
    return (acknowledged, *_EVENT.unpack_from(data, _BODY))


def _request(operation: int, number: int) -> bytes:
    body = struct.pack("=I", operation)
    message = _MESSAGE.pack(_PROC, _PROC, 0, number, len(body), 0) + body
    return _NETLINK.pack(_NETLINK.size + len(message), _DONE, 0, 0, 0) + message


def _expect_ack(sock: socket.socket, number: int) -> None:
    while True:
        try:
            found = _parts(sock.recv(_LARGEST))
        except BlockingIOError:
            raise OSError(errno.EPERM, "it answers only in the initial PID and user namespaces") from None
        if found is not None and found[:2] == (number + 1, _ACK):
            if found[3]:
                raise OSError(found[3], os.strerror(found[3]))
            return


def _attach_filter(sock: socket.socket) -> None:
    """Let through acknowledgements and what `parse` takes: a classic BPF program (socket(7))."""
    wanted = (_ACK, _EXEC, _UID, _GID)
    program = [(_LOAD, 0, 0, _BODY)]
    program += [(_EQUAL, len(wanted) - i, 0, socket.htonl(what)) for i, what in enumerate(wanted)]
    program += [(_RETURN, 0, 0, 0), (_RETURN, 0, 0, 0xFFFFFFFF)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(program), ctypes.addressof(code)))


def _make_room(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
    with suppress(OSError):  # beyond the limit of the system, for who may
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
