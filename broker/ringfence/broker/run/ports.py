"""Free loopback ports for a proxy: below the range from which the kernel takes ports for outgoing connections."""

from __future__ import annotations

import errno
import ipaddress
import random
import socket
from contextlib import ExitStack
from pathlib import Path

from ringfence.certs.errors import Kind, RingfenceError

LOOPBACK = "127.0.0.1"
_LOWEST = 15000
_TRIES_A_PORT = 200
_TRIES_AN_ADDRESS = 8


def free_ports(wanted: list[tuple[str, str]]) -> dict[str, str]:
    """`HOST:PORT` for each (what for, host), all different; raises EXHAUSTED or, for a bad host, INVALID.

    They are free now. Nothing holds them until the proxy binds them: a clash shows as a listener that never comes.
    """
    below = _first_ephemeral()
    choice = random.SystemRandom()
    with ExitStack() as held:
        return {name: f"{host}:{_free_port(host, below, choice, held)}" for name, host in wanted}


def free_address(numbers: range) -> str:
    """An address of this machine's loopback network on which all of *numbers* are free; raises EXHAUSTED.

    All of 127.0.0.0/8 is loopback on Linux (RFC 1122 section 3.2.1.3), so that ports can keep their numbers.
    """
    choice = random.SystemRandom()
    for _ in range(_TRIES_AN_ADDRESS):
        host = f"127.{choice.randrange(64, 128)}.{choice.randrange(256)}.{choice.randrange(1, 255)}"
        if all(_is_free(host, number) for number in numbers):
            return host
    what = f"no address in 127.64.0.0/10 has the ports {numbers[0]}-{numbers[-1]} free"
    raise RingfenceError(Kind.EXHAUSTED, what, hint="End what listens there on all addresses: `ss -ltn`")


def bind_here(host: str, port: int) -> socket.socket:
    """A socket on that address, in the network of the calling thread; raises OSError."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
    except BaseException:
        made.close()
        raise
    return made


def check_host(host: str) -> None:
    """Refuse what callers cannot be sent to: an address that means all of them, or a name. Raises INVALID."""
    if not _is_one_address(host):
        raise _not_ours(host)


def _free_port(host: str, below: int, choice: random.SystemRandom, held: ExitStack) -> int:
    check_host(host)
    for _ in range(_TRIES_A_PORT):
        port = choice.randrange(_LOWEST, below)
        listener = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        try:
            listener.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise _not_ours(host) from None
            continue
        return port
    raise RingfenceError(Kind.EXHAUSTED, f"no free port on {host} between {_LOWEST} and {below}")


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        try:
            listener.bind((host, port))
        except OSError:
            return False
    return True


def _is_one_address(host: str) -> bool:
    try:
        return not ipaddress.IPv4Address(host).is_unspecified
    except ValueError:
        return False


def _not_ours(host: str) -> RingfenceError:
    return RingfenceError(
        Kind.INVALID,
        f"{host or 'nothing'} is no IPv4 address of this machine",
        hint="Give --inbound-host one of them, or 127.0.0.1",
    )


def _first_ephemeral() -> int:
    try:
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
        first = int(text.split()[0])
    except (OSError, ValueError, IndexError):
        first = 32768
    # A machine tuned to an ephemeral range that starts at 1024 leaves nothing below: use what is there.
    return first if first > _LOWEST + 1000 else 65535
