"""Tests of what the kernel says about a peer, with a real other process."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ringfence.proto.lane import Call, Connection, Method, Peer
from ringfence.proto.lane.peer import unix_peer
from tests.proto.lane.conftest import Serve
from tests.proto.lane.handlers import methods

CLIENT = """
import grpc, sys
with grpc.insecure_channel(f"unix:{sys.argv[1]}") as channel:
    print(channel.unary_unary("/t/Who")(b"", timeout=20).decode())
"""


@pytest.mark.parametrize(
    ("peer", "known"),
    [(Peer("127.0.0.1:1"), False), (Peer("127.0.0.1:1", certificate=b"der"), True), (Peer("unix:/x", uid=1), True)],
)
def test_a_peer_is_known_by_its_certificate_or_by_the_kernel(peer: Peer, *, known: bool) -> None:
    """An address proves nothing."""
    assert peer.is_known is known


@pytest.mark.slow
async def test_peer_is_the_process_that_called(serve: Serve, socket_path: str) -> None:
    """The peer's pid, uid and gid are those of the calling process, and its pidfd refers to it."""
    seen: list[tuple[Peer, str]] = []

    async def who(call: Call) -> None:
        assert call.peer.pidfd is not None
        info = await asyncio.to_thread(Path(f"/proc/self/fdinfo/{call.peer.pidfd}").read_text)
        seen.append((call.peer, next(line.split()[1] for line in info.splitlines() if line.startswith("Pid:"))))
        await call.send(str(call.peer.pid).encode())

    await serve(methods(Who=Method(who, bytes)))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLIENT, socket_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, _ = await process.communicate()
    peer, pid = seen[0]
    assert int(out) == process.pid == peer.pid == int(pid)
    assert (peer.uid, peer.gid) == (os.getuid(), os.getgid())
    assert peer.pidfd_from in {"socket", "pid"}
    assert peer.address == f"unix:{socket_path}"
    assert peer.certificate is None


class OldKernel(socket.socket):
    """A socket on a kernel before 6.5: it has no SO_PEERPIDFD."""

    def getsockopt(self, level: int, option: int, *size: int) -> Any:
        """As the kernel answers, but for the one option."""
        if option == 77:
            raise OSError(92, "Protocol not available")
        return super().getsockopt(level, option, *size)


def test_fallback_of_older_kernels() -> None:
    """Without SO_PEERPIDFD the pidfd comes from the pid, and says so."""
    left, right = socket.socketpair()
    with left, right, OldKernel(fileno=os.dup(left.fileno())) as old:
        peer = unix_peer(old, "unix:x")
        assert (peer.pid, peer.pidfd_from) == (os.getpid(), "pid")
        assert peer.pidfd is not None
        os.close(peer.pidfd)


class DeadPeer(socket.socket):
    """A socket whose other process is gone before it was asked for."""

    def getsockopt(self, level: int, option: int, *size: int) -> Any:
        """ESRCH for the process, as the kernel answers."""
        if option == 77:
            raise OSError(3, "No such process")
        return super().getsockopt(level, option, *size)


def test_peer_that_is_gone() -> None:
    """A peer that died has no pidfd; nobody else's is taken instead."""
    left, right = socket.socketpair()
    with left, right, DeadPeer(fileno=os.dup(left.fileno())) as dead:
        peer = unix_peer(dead, "unix:x")
        assert (peer.pidfd, peer.pidfd_from) == (None, "")


_LEAVES_ITS_SOCKET = """
import os, socket, subprocess, sys
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
os.set_inheritable(sock.fileno(), True)
subprocess.Popen([sys.executable, "-c", "input()"], close_fds=False)
"""


async def test_the_end_of_the_process_that_connected_is_told(serve: Serve, socket_path: str) -> None:
    """Though its child still holds the socket, and not once the connection is gone."""
    ended, connections = asyncio.Event(), []

    def hook(connection: Connection) -> None:
        connections.append(connection)
        connection.when_peer_ends(ended.set)

    await serve(on_connect=hook)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _LEAVES_ITS_SOCKET, socket_path, stdin=asyncio.subprocess.PIPE
    )
    await asyncio.wait_for(ended.wait(), 30)
    assert not connections[0].closed.done()
    assert process.stdin is not None
    process.stdin.close()
    await process.wait()
    await connections[0].closed
    again = asyncio.Event()
    connections[0].when_peer_ends(again.set)
    await asyncio.sleep(0)
    assert not again.is_set()
