"""Where a process listens or is reached: a host and a port, or the path of a Unix socket, which is short."""

from __future__ import annotations

from dataclasses import dataclass

from ringfence.certs.errors import Kind, RingfenceError

MAX_SOCKET_PATH = 107  # bytes, sun_path of unix(7) without its end


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; port 0 lets the system choose."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, *, flag: str) -> Address:
        """From HOST:PORT or [IPv6]:PORT; raises INVALID naming *flag*."""
        host, colon, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) >= 1 << 16:
            raise RingfenceError(Kind.INVALID, f"{text!r} is no HOST:PORT", hint=f"{flag} 127.0.0.1:8443, for example")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
