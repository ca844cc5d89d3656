"""Whose a port is, from the kernel's tables of sockets."""

from __future__ import annotations

from pathlib import Path

from ringfence.broker.fabric.closed import listeners

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def line(port: int, state: str, uid: int, address: str = "0100007F") -> str:
    """A socket as proc(5) has it."""
    return f"   0: {address}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 {uid:5} 0 1 1\n"


def test_who_listens_on_a_port_is_known_by_user(tmp_path: Path) -> None:
    """Of both families; a connection from that port is nobody who listens, and other ports are not asked for."""
    (tmp_path / "net").mkdir()
    sockets = (line(29500, "0A", 1001), line(29500, "01", 7), line(22, "0A", 0), line(80, "0A", 33))
    (tmp_path / "net" / "tcp").write_text(HEAD + "".join(sockets))
    (tmp_path / "net" / "tcp6").write_text(HEAD + line(29500, "0A", 1002, "0" * 32))
    assert listeners((29500, 22, 443), tmp_path) == {29500: {1001, 1002}, 22: {0}}


def test_a_kernel_without_ipv6_has_one_table(tmp_path: Path) -> None:
    """Which is enough."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(HEAD + line(29500, "0A", 1001))
    assert listeners((29500,), tmp_path) == {29500: {1001}}
