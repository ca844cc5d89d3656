"""What a peer may say that makes us work and carries nothing: what each frame costs of an allowance that comes back.

Floods are made of such frames: pings, settings, priorities, empty data, credit in drops (CVE-2019-9511 to 9518), and
frames that make us reset a stream ourselves (CVE-2025-8671).
"""

from __future__ import annotations

from ringfence.proto.lane.framing import CONTINUATION, DATA, END_STREAM, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE

_SETTING = 6  # bytes of one
_DROP = 1_024  # bytes of credit; no client library gives less than half a window at once


class Allowance:
    """So much at once, and then so much a second; pure, so that tests need no waiting."""

    __slots__ = ("_at", "_left", "_most", "_per_second")

    def __init__(self, most: float, per_second: float, now: float) -> None:
        self._most = self._left = float(most)
        self._per_second = per_second
        self._at = now

    def take(self, now: float, cost: float = 1.0) -> bool:
        """Spend *cost* at *now*, in seconds; False once more was spent than there was."""
        self._left = min(self._most, self._left + (now - self._at) * self._per_second) - cost
        self._at = now
        return self._left >= 0


def cost(kind: int, flags: int, payload: bytes, streams: int, waiting: int) -> int:
    """What a frame costs of the allowance: about as many steps as it makes us do.

    *streams* are open, and *waiting* of their senders are woken by credit for the connection.
    """
    if kind == DATA:
        return 0 if payload or flags & END_STREAM else 1
    if kind in {HEADERS, CONTINUATION, RST_STREAM}:  # these have bounds of their own
        return 0
    if kind == WINDOW_UPDATE:
        return 1 + waiting if int.from_bytes(payload[:4], "big") & 0x7FFFFFFF < _DROP else 0
    if kind == SETTINGS:
        return 1 + len(payload) // _SETTING * streams  # a new initial window moves that of every stream
    return 1
