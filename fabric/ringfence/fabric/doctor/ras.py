"""What NCCL's RAS says of a running job: communicators, and which of their ranks are lost, as text or JSON.

Source: NCCL 2.24 and later, `echo verbose status | nc localhost 28028` or `ncclras`; JSON since 2.28.7 by `-f json`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ringfence.fabric.doctor.bounded import MAX_FACTS, from_json, lines, objects, whole, words

_FAULT = re.compile(r"(?:(#\d{1,9}-\d{1,9} \([0-9a-fx]{1,40}\)) )?(DEAD|INCOMPLETE|INIT|ERROR|MISMATCH|TIMEOUT)\s*")
_VERSION = re.compile(r"NCCL version (\S{1,32})")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that RAS calls an error or a warning: of a communicator, or of the whole job where that is empty."""

    line: int
    kind: str  # DEAD, INCOMPLETE, ERROR, MISMATCH, TIMEOUT, INIT
    communicator: str
    detail: str

    @property
    def lost(self) -> bool:
        """Whether processes do not answer; a mismatch is often a rank that lags for a moment."""
        return self.kind in {"DEAD", "INCOMPLETE"}


@dataclass(frozen=True, slots=True)
class Ras:
    """One answer of RAS."""

    path: str
    version: str = ""
    faults: tuple[Fault, ...] = ()


def ras(text: str, path: str) -> Ras:
    """The answer in *text* from *path*."""
    told = from_json(text) if text.lstrip()[:1] == "{" else None
    return _of_json(told, path) if isinstance(told, dict) else _of_text(text, path)


def _of_text(text: str, path: str) -> Ras:
    """A fault opens with its name on a line of its own; what is indented below it is its detail."""
    version, faults = "", list[Fault]()
    opened: tuple[int, re.Match[str]] | None = None
    for number, line in lines(text):
        if found := _VERSION.search(line):
            version = found.group(1)
        if opened and line[:1].isspace() and line.strip():
            faults.append(Fault(opened[0], opened[1].group(2), opened[1].group(1) or "", line.strip()))
            opened = None
        elif found := _FAULT.fullmatch(line):
            opened = (number, found)
    return Ras(path, version, tuple(faults[:MAX_FACTS]))


def _of_json(told: dict[str, Any], path: str) -> Ras:
    faults = [fault for one in objects(told.get("communicators")) for fault in _faults(one)]
    return Ras(path, words(told.get("nccl_version")), tuple(faults[:MAX_FACTS]))


def _faults(communicator: dict[str, Any]) -> list[Fault]:
    name = words(communicator.get("hash"))
    missing = whole(communicator.get("missing_ranks_count")) or 0
    size = whole(communicator.get("size")) or 0
    lost = [Fault(1, "INCOMPLETE", name, f"{missing} of {size} ranks gave no data")] if missing else []
    failed = [rank for rank in objects(communicator.get("ranks")) if _failed(rank.get("status"))]
    said = [Fault(1, "ERROR", name, f"rank {whole(one.get('rank')) or 0} reports an error") for one in failed]
    return lost + said


def _failed(status: Any) -> bool:
    return isinstance(status, dict) and bool(whole(status.get("async_error")) or status.get("abort_flag") is True)
