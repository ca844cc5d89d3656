"""What one peer may cost: every bound of the lane in one value."""

from __future__ import annotations

from dataclasses import dataclass

# RFC 9113 section 6.9.2: what both directions start with.
DEFAULT_WINDOW = 65_535
DEFAULT_FRAME = 16_384


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds a connection; sizes in bytes, times in seconds.

    The windows are larger than the 64 KiB that HTTP/2 starts with: Envoy's first message on each stream is 61 KB of
    node, and two of them would fill it.
    """

    message: int = 4 * 1024 * 1024  # largest message received
    headers: int = 16 * 1024  # decoded header list of one call
    streams: int = 1_000  # calls at once on a connection, ended handlers that still clean up included
    connections: int = 16_384
    buffered: int = 32 * 1024 * 1024  # received and not yet read by handlers, over one connection
    stream_window: int = 256 * 1024
    connection_window: int = 1024 * 1024
    resets: int = 500  # at once, before the connection is ended (rapid reset, CVE-2023-44487)
    resets_per_second: float = 50.0  # at which that allowance comes back
    chatter: int = 10_000  # frames that carry nothing, at once (pings, settings ...; what each costs: `chatter.cost`)
    chatter_per_second: float = 5_000.0
    hello_seconds: float = 10.0  # to the end of the TLS handshake, and again to the first settings
    request_seconds: float = 60.0  # from the start of a call to its first whole message
    send_seconds: float = 60.0  # for the peer to take one message
    idle_seconds: float = 3_600.0  # without a call
    stranger_seconds: float = 60.0  # the same for a peer that proved nothing, by a certificate or by being of this host
    ping_seconds: float = 60.0  # without a byte received, then a PING
    ping_timeout_seconds: float = 20.0  # for its answer
