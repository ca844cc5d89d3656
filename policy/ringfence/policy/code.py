"""What a code of a finding stands for, and how grave it can be."""

from __future__ import annotations

from dataclasses import dataclass

ERROR = "error"
WARNING = "warning"
INFO = "info"  # of what is as it was meant: listed where somebody asks for it, and nowhere else


@dataclass(frozen=True, slots=True)
class Code:
    """What a code stands for, in every document where it appears, and what to do about it."""

    level: str
    cause: str
    fix: str
    threat: str = ""  # of THREATS, where it is a sign of one
