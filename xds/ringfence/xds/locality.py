"""Where a proxy runs, as its host says it: a claim that decides which endpoints are near, and nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ringfence.certs.errors import Kind, RingfenceError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
SAME_ZONE, SAME_REGION, ELSEWHERE = range(3)


@dataclass(frozen=True, slots=True, order=True)
class Locality:
    """A region and a zone of it, each empty where it is not known (config.core.v3.Locality)."""

    region: str = ""
    zone: str = ""

    @classmethod
    def parse(cls, region: str, zone: str) -> Locality:
        """Both checked; raises INVALID for one that is not 1 to 63 letters, digits, dots, dashes and underscores."""
        for what, name in (("region", region), ("zone", zone)):
            if name and not _NAME.fullmatch(name):
                raise RingfenceError(
                    Kind.INVALID,
                    f"{name[:80]!r} is no {what}",
                    hint="A letter or digit, then up to 62 letters, digits, dots, dashes and underscores",
                )
        return cls(region, zone)

    def fields(self) -> dict[str, str]:
        """Of the message, without what is not known."""
        return {what: name for what, name in (("region", self.region), ("zone", self.zone)) if name}

    def distance(self, other: Locality) -> int:
        """How far *other* is: SAME_ZONE, SAME_REGION or ELSEWHERE. What is not known is near to nothing."""
        if self.zone and self == other:
            return SAME_ZONE
        return SAME_REGION if self.region and self.region == other.region else ELSEWHERE


NOWHERE = Locality()
