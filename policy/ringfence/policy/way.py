"""One way from a workload to another as a frozen value: the verdict, what enforces it, and the lines that say so."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ringfence.policy.model import Origin


class Way(Enum):
    """What a call takes: proxies, the node's own network past them, or a fabric."""

    PROXY = "proxy"
    NIC = "primary NIC"
    FABRIC = "fabric"


class Reached(Enum):
    """Whether the other end is reached."""

    ALLOW = "allow"  # intent lets it
    SOME = "some"  # intent lets some of it, which the lines say
    DENY = "deny"
    UNKNOWN = "unknown"  # intent does not let it, and nothing that is known of keeps it out


@dataclass(frozen=True, slots=True)
class Line:
    """A document that has a say, where it is, and what it says in a few words."""

    document: str  # kind and key: `Allow team-a/pull`
    origin: Origin
    says: str = ""

    def __str__(self) -> str:
        return f"{self.origin} {self.document}{f': {self.says}' if self.says else ''}"


@dataclass(frozen=True, slots=True)
class Leg:
    """The answer for one thing to call on one way."""

    way: Way
    target: str  # a port, or a fabric and what crosses it
    verdict: Reached
    enforced_by: str  # the mechanism, or that there is none
    because: str
    lines: tuple[Line, ...] = ()
