"""Probes one peer over the fabric, within a budget that was stated before: echoes, one bulk transfer, open ports."""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path

from ringfence.broker.fabric.echo import Echo
from ringfence.broker.fabric.respond import GREETING
from ringfence.broker.fabric.write_bw import run_write_bw
from ringfence.certs.errors import RingfenceError
from ringfence.fabric.doctor.probe import HOPS, ROUND_TRIPS, SIZES, SMALLEST, TRIES, Budget, Probe, Spent, next_size
from ringfence.fabric.doctor.write_bw import write_bw

_PATIENCE = 1.0  # seconds for what is to answer at once
_LEAST = 0.1  # seconds for an echo, however near the peer is: the machine may be busy
_BULK = 2.0  # seconds of the bulk transfer
_CHUNK = bytes(1 << 20)


class Prober:
    """One probe of one peer by one interface; it counts what it sends, and stops at the budget's end."""

    def __init__(self, peer: str, interface: str, budget: Budget) -> None:
        self._peer, self._interface, self._budget = peer, interface, budget
        self._started = time.monotonic()
        self._echoes = self._connections = self._data = 0

    def probe(self, port: int, line_rate: float | None) -> tuple[Probe, Spent, tuple[str, ...]]:
        """What was found, what was sent, and what could not be judged; *port* is the responder's."""
        notes: list[str] = []
        rtt, direct, largest = self._echoed(notes)
        rate = self._bulk(port, notes)
        verbs = self._verbs(notes) if self._budget.device else None
        open_ports = tuple(filter(self._is_open, self._budget.ports))
        found = Probe(self._peer, self._interface, rtt, direct, largest, rate, line_rate, open_ports, verbs)
        spent = Spent(self._echoes, self._connections, self._data, time.monotonic() - self._started)
        return found, spent, tuple(notes)

    @property
    def _left(self) -> float:
        return max(self._started + self._budget.seconds - time.monotonic(), 0.0)

    def _echoed(self, notes: list[str]) -> tuple[float | None, bool | None, int | None]:
        """Milliseconds, whether it is on the link, and the largest packet; nothing of who answers no echo at all."""
        with Echo(self._peer, self._interface) as echo:
            times = [echo.ask(echo.smallest, min(_PATIENCE, self._left)) for _ in range(ROUND_TRIPS)]
            answered = [one for one in times if one is not None]
            direct, largest = None, None
            if answered:
                wait = max(_LEAST, min(5 * min(answered), _PATIENCE))
                hops = (echo.ask(echo.smallest, min(wait, self._left), 1) for _ in range(HOPS))
                direct = any(one is not None for one in hops)
                largest = self._largest(echo, wait)
            else:
                notes.append(
                    f"{self._peer} answers no echo by {self._interface}: round trip, hops and MTU are not judged"
                )
            self._echoes = echo.sent
        return (min(answered) * 1000 if answered else None), direct, largest

    def _largest(self, echo: Echo, wait: float) -> int | None:
        """The largest packet up to the MTU; by halves, between what passed and what did not."""

        def passes(size: int) -> bool:
            return any(echo.ask(size, min(wait, self._left)) is not None for _ in range(TRIES))

        if passes(self._budget.mtu):
            return self._budget.mtu
        passed, refused = echo.smallest, self._budget.mtu
        size: int | None = min(SMALLEST, refused - 1)
        for _ in range(SIZES - 1):
            if size is None or not self._left:
                break
            passed, refused = (size, refused) if passes(size) else (passed, size)
            size = next_size(passed, refused)
        return passed

    def _connected(self, port: int, seconds: float) -> socket.socket | None:
        """A connection by the interface, or nothing: refused, dropped, or no time left."""
        if not self._left:
            return None
        family = socket.AF_INET6 if ":" in self._peer else socket.AF_INET
        line = socket.socket(family, socket.SOCK_STREAM)
        try:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self._interface.encode())
            line.settimeout(max(min(seconds, self._left), 0.001))
            self._connections += 1
            line.connect((self._peer, port))
        except OSError:
            line.close()
            return None
        return line

    def _bulk(self, port: int, notes: list[str]) -> float | None:
        """Gbit/s to a responder; nothing is sent to whatever does not greet as one."""
        line = self._connected(port, _PATIENCE)
        try:
            rate = self._sent(line) if line is not None else None
        except OSError:
            rate = None
        finally:
            if line is not None:
                line.close()
        if rate is None:
            command = f"ringfence fabric doctor respond --listen {self._peer} --port {port} --peer ADDRESS-OF-THIS-NODE"
            notes.append(f"no responder at {self._peer}, port {port}: throughput is not judged; run `{command}` there")
        return rate

    def _sent(self, line: socket.socket) -> float | None:
        line.settimeout(_PATIENCE)
        if line.recv(len(GREETING), socket.MSG_WAITALL) != GREETING:
            return None
        started, sent = time.monotonic(), 0
        ends = started + min(_BULK, self._left)
        while sent < self._budget.data and time.monotonic() < ends:
            sent += line.send(_CHUNK[: self._budget.data - sent])
        self._data += sent
        line.shutdown(socket.SHUT_WR)
        line.settimeout(max(min(_BULK, self._left), 0.001))
        taken = int.from_bytes(line.recv(8, socket.MSG_WAITALL), "big")
        return taken * 8 / (time.monotonic() - started) / 1e9 if taken == sent else None

    def _verbs(self, notes: list[str]) -> float | None:
        try:
            return write_bw(run_write_bw(self._budget.device, self._peer))
        except RingfenceError as error:
            notes.append(f"{error.detail}: RDMA's own throughput is not judged")
            return None

    def _is_open(self, port: int) -> bool:
        """Whether the port takes a connection and answers a greeting of TLS with anything but TLS, or with nothing."""
        line = self._connected(port, _PATIENCE)
        if line is None:
            return False
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # what it speaks, not who it is
        try:
            with context.wrap_socket(line):
                return False
        except ssl.SSLError as error:
            return "ALERT" not in (error.reason or "")  # who sends an alert speaks TLS: it asks for a certificate
        except OSError:
            return True
        finally:
            line.close()


def line_rate(interface: str, sys: Path = Path("/sys")) -> float | None:
    """Gbit/s that the driver says; None for one that says nothing or is down."""
    megabits = _said(interface, "speed", sys)
    return megabits / 1000 if megabits > 0 else None


def link_mtu(interface: str, sys: Path = Path("/sys")) -> int:
    """Bytes of a packet; 1500 for an interface that is not there, to which nothing can be sent anyway."""
    return _said(interface, "mtu", sys) or 1500


def _said(interface: str, attribute: str, sys: Path) -> int:
    try:
        return int((sys / "class/net" / interface / attribute).read_text())
    except (OSError, ValueError):
        return 0
