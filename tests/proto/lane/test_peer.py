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

from ringfence.proto.lane import Call, Method, Peer
from ringfence.proto.lane.peer import unix_peer
from tests.proto.lane.conftest import Serve
from tests.proto.lane.handlers import methods

CLIENT = """
import grpc, sys
with grpc.insecure_channel(f"unix:{sys.argv[1]}") as channel:
    print(channel.unary_unary("/t/Who")(b"", timeout=20).decode())
"""


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
