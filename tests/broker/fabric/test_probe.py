"""The ends of a probe on loopback: what speaks TLS is told from what does not, and a responder keeps its bounds."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ringfence.broker.fabric import respond as responding
from ringfence.broker.fabric import write_bw
from ringfence.broker.fabric.probe import Prober, line_rate, link_mtu
from ringfence.broker.fabric.respond import GREETING, listening, respond
from ringfence.certs.errors import RingfenceError
from ringfence.fabric.doctor.probe import Budget
from tests import parts
from tests.ca import new_pki

HERE, PATIENCE = "127.0.0.1", 20.0


@contextmanager
def serving(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """A listener of one thread; its port."""
    with listening(HERE, 0) as server:

        def run() -> None:
            while True:
                try:
                    line = server.accept()[0]
                except OSError:
                    return
                with line:
                    line.settimeout(PATIENCE)
                    handle(line)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE)


def probed(
    *ports: int, responder: int = 1, data: int = 1 << 20
) -> tuple[tuple[int, ...], float | None, tuple[str, ...], str]:
    """Open ports, the rate, the notes, and what was spent."""
    parts.root()  # for echo requests
    found, spent, notes = Prober(HERE, "lo", Budget(ports, 1500, data)).probe(responder, None)
    return found.open_ports, found.rate, notes, str(spent)


def test_a_store_is_open_and_what_speaks_tls_is_not(tmp_path: Path) -> None:
    """However it answers the greeting: with anything else, by hanging up, or asking for a certificate in TLS."""
    pki = new_pki(tmp_path)

    def tls(highest: ssl.TLSVersion) -> Callable[[socket.socket], None]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki.root, pki.root_key)
        context.load_verify_locations(pki.root)
        context.verify_mode, context.maximum_version = ssl.CERT_REQUIRED, highest

        def handle(line: socket.socket) -> None:
            with suppress(OSError):
                context.wrap_socket(line, server_side=True).close()

        return handle

    with (
        serving(tls(ssl.TLSVersion.TLSv1_3)) as safe,
        serving(tls(ssl.TLSVersion.TLSv1_2)) as alarmed,  # it refuses within the handshake
        serving(lambda line: line.sendall(line.recv(64))) as chatty,
        serving(lambda _: None) as rude,
    ):
        open_ports, *_ = probed(safe, alarmed, chatty, rude, 1)
    assert open_ports == (chatty, rude)


def test_at_the_end_of_its_time_it_sends_nothing_more() -> None:
    """Whatever is left to ask."""
    parts.root()
    budget = Budget((29500,), 1500, seconds=0.0)
    found, spent, _ = Prober(HERE, "lo", budget).probe(1, None)
    assert (spent.echoes, spent.connections, spent.data) == (0, 0, 0)
    assert (found.rtt, found.direct, found.largest, found.rate, found.open_ports) == (None, None, None, None, ())


def test_nothing_is_sent_to_what_is_no_responder() -> None:
    """Another service is not filled with zeros."""
    taken: list[bytes] = []

    def other(line: socket.socket) -> None:
        line.sendall(b"SSH-2.0-x\r\n" + b" " * 32)
        with suppress(ConnectionResetError):
            taken.append(line.recv(1 << 16))

    with serving(other) as port:
        _, rate, notes, spent = probed(responder=port)
    assert (rate, b"".join(taken), "0 bytes to a responder" in spent) == (None, b"", True)
    assert "--peer ADDRESS-OF-THIS-NODE" in notes[0]


@contextmanager
def answering(peer: str, connections: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """A responder for *peer*, until it had so many connections; where it listens."""
    monkeypatch.setattr(responding, "MAX_CONNECTIONS", connections)
    with listening(HERE, 0) as server:
        thread = threading.Thread(target=respond, args=(server, peer, PATIENCE), daemon=True)
        thread.start()
        yield server.getsockname()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_a_responder_tells_how_much_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it, and no more than the budget."""
    with answering(HERE, 1, monkeypatch) as (_, port):
        _, rate, notes, spent = probed(responder=port, data=3_500_000)
    assert (rate is not None, notes) == (True, ())
    assert "3500000 bytes to a responder" in spent


def test_a_responder_hangs_up_on_others_and_on_what_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """One peer, so many bytes, so long."""
    monkeypatch.setattr(responding, "MAX_DATA", 10)
    with answering("127.0.0.2", 2, monkeypatch) as where:
        with socket.create_connection(where, PATIENCE) as line:
            assert line.recv(64) == b""
        with socket.create_connection(where, PATIENCE, ("127.0.0.2", 0)) as line:
            assert line.recv(64) == GREETING
            line.sendall(bytes(1 << 10))
            assert gone(line)
    with listening(HERE, 0) as server:
        assert respond(server, HERE, 0.01) == 0


def gone(line: socket.socket) -> bool:
    """Whether the other end hung up without a word."""
    try:
        return line.recv(64) == b""
    except ConnectionResetError:
        return True


def test_rate_and_mtu_are_what_sysfs_says(tmp_path: Path) -> None:
    """A driver that does not know its rate says -1, or fails."""
    folder = tmp_path / "class/net/fab0"
    folder.mkdir(parents=True)
    (folder / "mtu").write_text("9000\n")
    (folder / "speed").write_text("400000\n")
    assert (line_rate("fab0", tmp_path), link_mtu("fab0", tmp_path)) == (400.0, 9000)
    (folder / "speed").write_text("-1\n")
    assert line_rate("fab0", tmp_path) is None
    assert (line_rate("no", tmp_path), link_mtu("no", tmp_path)) == (None, 1500)


def test_ib_write_bw_is_run_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a client, for two seconds; that it is missing or fails is a note's text."""
    monkeypatch.setattr(write_bw.os, "defpath", str(tmp_path))
    with pytest.raises(RingfenceError, match="not installed"):
        write_bw.run_write_bw("mlx5_0", HERE)
    tool = tmp_path / "ib_write_bw"
    tool.write_text('#!/bin/sh\necho "$@"\n')
    tool.chmod(0o755)
    assert write_bw.run_write_bw("mlx5_0", HERE) == "-d mlx5_0 -D 2 --report_gbits 127.0.0.1\n"
    tool.write_text("#!/bin/sh\necho no device >&2\nexit 1\n")
    with pytest.raises(RingfenceError, match="ib_write_bw failed: no device"):
        write_bw.run_write_bw("mlx5_0", HERE)
