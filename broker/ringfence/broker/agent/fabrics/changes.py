"""Hears from the kernel when interfaces, addresses, routes or rules change, or a table of nft is deleted (netlink(7)).

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
_TABLE_DELETED = 10 << 8 | 2  # NFNL_SUBSYS_NFTABLES, NFT_MSG_DELTABLE: members come and go without it
_HEADER = struct.Struct("=IH")  # nlmsghdr: length, type
_MOST = 1 << 16


class NodeChanges:
    """Calls *changed* in the event loop after each batch of changes, until it is closed."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        routes = _listening(_ROUTE, (_LINK, *_ADDRESSES, *_ROUTES, *_RULES))
        self._sockets = [routes, _listening(_NETFILTER, (_NFTABLES,))]
        loop = asyncio.get_running_loop()
        loop.add_reader(self._sockets[0].fileno(), self._read, self._sockets[0], None)
        loop.add_reader(self._sockets[1].fileno(), self._read, self._sockets[1], _TABLE_DELETED)

    def close(self) -> None:
        """Listen no more."""
        for one in self._sockets:
            asyncio.get_running_loop().remove_reader(one.fileno())
            one.close()

    def _read(self, one: socket.socket, kind: int | None) -> None:
        heard = False
        with suppress(BlockingIOError):
            while True:
                try:
                    kinds = set(_kinds(one.recv(_MOST)))
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
                    heard = True  # more than fitted: something among it may be what counts
                else:
                    heard = heard or kind is None or kind in kinds
        if heard:
            self._changed()


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


def _kinds(data: bytes) -> Iterator[int]:
    while len(data) >= _HEADER.size:
        length, kind = _HEADER.unpack_from(data)
        yield kind
        data = data[max(length + 3 & ~3, _HEADER.size) :]
