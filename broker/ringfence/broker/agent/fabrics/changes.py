"""Hears from the kernel when interfaces, addresses, routes or rules change, or a table of ours is lost (netlink(7)).

What exactly changed is not asked: whoever hears looks at all of it, which is a few milliseconds.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress

_ROUTE, _NETFILTER = 0, 12  # NETLINK_ROUTE, NETLINK_NETFILTER
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_LINK, _ADDRESSES, _ROUTES, _RULES = 1, (5, 9), (7, 11), (8, 19)  # RTNLGRP_*, of IPv4 and IPv6 (rtnetlink.h)
_NFTABLES = 7  # NFNLGRP_NFTABLES
_MADE, _DELETED = 10 << 8 | 0, 10 << 8 | 2  # NFNL_SUBSYS_NFTABLES with NFT_MSG_NEWTABLE and NFT_MSG_DELTABLE
_OURS = b"ringfence-"
_HEADER = struct.Struct("=IH10x")  # nlmsghdr: length, type
_NAME = struct.Struct("=4xHH")  # nfgenmsg, then the first attribute's length and type: NFTA_TABLE_NAME
_MOST = 1 << 16


class NodeChanges:
    """Calls *changed* in the event loop after each batch of changes, until it is closed."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._routes = _listening(_ROUTE, (_LINK, *_ADDRESSES, *_ROUTES, *_RULES))
        self._tables = _listening(_NETFILTER, (_NFTABLES,))
        loop = asyncio.get_running_loop()
        loop.add_reader(self._routes.fileno(), self._read_routes)
        loop.add_reader(self._tables.fileno(), self._read_tables)

    def close(self) -> None:
        """Listen no more."""
        for one in (self._routes, self._tables):
            asyncio.get_running_loop().remove_reader(one.fileno())
            one.close()

    def _read_routes(self) -> None:
        for _ in _waiting(self._routes):
            pass
        self._changed()

    def _read_tables(self) -> None:
        """Whoever replaces a table, as we do, deletes and makes it at once: what counts is what is gone afterwards."""
        gone: set[bytes] = set()
        for data in _waiting(self._tables):
            if data is None:
                gone.add(_OURS)
            else:
                note_tables(data, gone)
        if any(name.startswith(_OURS) for name in gone):
            self._changed()


def note_tables(data: bytes, gone: set[bytes]) -> None:
    """Put into *gone* the tables that *data* says are deleted, and take out those that it says are made."""
    for kind, body in _messages(data):
        if kind in {_MADE, _DELETED} and len(body) >= _NAME.size:
            length, _ = _NAME.unpack_from(body)
            name = body[_NAME.size : 4 + length].rstrip(b"\0")
            (gone.add if kind == _DELETED else gone.discard)(name)


def _waiting(one: socket.socket) -> Iterator[bytes | None]:
    """What has come; None where there was more than fitted, so that something is not known."""
    with suppress(BlockingIOError):
        while True:
            try:
                data: bytes | None = one.recv(_MOST)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                data = None
            yield data


def _listening(family: int, groups: tuple[int, ...]) -> socket.socket:
    one = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, family)
    try:
        one.bind((0, 0))
        for group in groups:
            one.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
    except OSError:
        one.close()
        raise
    return one


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Each by its type."""
    while len(data) >= _HEADER.size:
        length, kind = _HEADER.unpack_from(data)
        yield kind, data[_HEADER.size : length]
        data = data[max(length + 3 & ~3, _HEADER.size) :]
