"""Tests of listening sockets: stale ones, taken ones, their mode, and who removes them."""

from __future__ import annotations

import errno
import socket
import stat
import threading
from pathlib import Path

import pytest

from ringfence.proto.lane.sockets import bind_tcp, bind_unix, identity, unlink_own


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o777])
def test_mode(tmp_path: Path, mode: int) -> None:
    """The socket has its mode, whatever the umask."""
    with bind_unix(tmp_path / "s", mode):
        found = (tmp_path / "s").stat()
        assert stat.S_ISSOCK(found.st_mode)
        assert stat.S_IMODE(found.st_mode) == mode
        assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_stale_socket_is_replaced(tmp_path: Path) -> None:
    """A socket that nobody listens on any more, as after a crash, is in nobody's way."""
    bind_unix(tmp_path / "s", 0o600).close()
    assert (tmp_path / "s").exists()
    with bind_unix(tmp_path / "s", 0o600), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))


def test_live_socket_is_left_alone(tmp_path: Path) -> None:
    """A socket that somebody listens on is in use; the error names it, and the other goes on."""
    with bind_unix(tmp_path / "s", 0o600) as other:
        with pytest.raises(OSError, match="another process listens there") as caught:
            bind_unix(tmp_path / "s", 0o600)
        assert (caught.value.errno, caught.value.filename) == (errno.EADDRINUSE, str(tmp_path / "s"))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "s"))
            other.accept()[0].close()


def test_listener_with_a_full_queue_is_alive(tmp_path: Path) -> None:
    """A server too busy to accept is not taken for a dead one."""
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(tmp_path / "s"))
        busy.listen(0)
        waiting.connect(str(tmp_path / "s"))
        with pytest.raises(OSError, match="another process listens there"):
            bind_unix(tmp_path / "s", 0o600)


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    """A path that is no socket is never removed, and a link is not followed."""
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for name in ("file", "link"):
        with pytest.raises(OSError, match="not a socket"):
            bind_unix(tmp_path / name, 0o600)
    assert (tmp_path / "file").read_text() == "precious"


def test_two_servers_at_once(tmp_path: Path) -> None:
    """Of servers that start at the same moment on a stale socket, one gets it and the others are told."""
    bind_unix(tmp_path / "s", 0o600).close()
    won: list[socket.socket] = []
    lost: list[int | None] = []

    def start() -> None:
        try:
            won.append(bind_unix(tmp_path / "s", 0o600))
        except OSError as error:
            lost.append(error.errno)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert lost == [errno.EADDRINUSE] * 7
    won[0].close()


def test_path_that_is_too_long(tmp_path: Path) -> None:
    """A path that no socket address holds is an OSError, and nothing is left behind."""
    with pytest.raises(OSError, match="path too long"):
        bind_unix(tmp_path / ("s" * 120), 0o600)
    assert not list(tmp_path.iterdir())


def test_own_socket_is_removed_and_no_other(tmp_path: Path) -> None:
    """Only the very file that was made is removed."""
    path = tmp_path / "s"
    with bind_unix(path, 0o600):
        own = identity(path)
        path.unlink()
        path.touch()
        (tmp_path / "keeps the inode busy").touch()
        unlink_own(path, (own[0], own[1] + 1_000_000))
        assert path.exists()
        unlink_own(path, identity(path))
        assert not path.exists()
        unlink_own(path, own)


def test_tcp() -> None:
    """Port 0 takes a free port, and a port in use is an error."""
    with bind_tcp("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        assert port > 0
        with pytest.raises(OSError, match="in use"):
            bind_tcp("127.0.0.1", port)
