"""A connection's clock: when to ping it, when it has been silent or idle too long, and what it may ask for nothing."""

from __future__ import annotations

from typing import Literal

from ringfence.proto.lane.chatter import Allowance
from ringfence.proto.lane.limits import Limits


class Watch:
    """Times of one connection, in the loop's seconds; pure, so that tests need no waiting."""

    __slots__ = ("_limits", "_made", "busy", "chatter", "greeted", "heard", "pinged", "resets")

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._made = now
        self.resets = Allowance(limits.resets, limits.resets_per_second, now)
        self.chatter = Allowance(limits.chatter, limits.chatter_per_second, now)
        self.heard = now  # last byte received
        self.busy = now  # last call ended
        self.greeted = False  # the peer's settings are here
        self.pinged: float | None = None  # when the unanswered ping was sent

    def due(self, now: float, *, idle: bool, known: bool = True) -> Literal["", "ping", "idle", "gone"]:
        """What to do now; *known* is who proved who it is. A sent ping counts as sent: call once."""
        limits = self._limits
        if not self.greeted:
            return "gone" if now - self._made > limits.hello_seconds else ""
        if self.pinged is not None and self.heard > self.pinged:
            self.pinged = None
        if self.pinged is not None:
            return "gone" if now - self.pinged > limits.ping_timeout_seconds else ""
        if idle and now - self.busy > (limits.idle_seconds if known else limits.stranger_seconds):
            return "idle"
        if now - self.heard > limits.ping_seconds:
            self.pinged = now
            return "ping"
        return ""
