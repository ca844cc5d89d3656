"""Jobs of Slurm as squeue(1) prints them, and the nodes of a list of hosts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import product

from ringfence.certs.errors import Kind, RingfenceError

# Job, user's number, name of the group, state, end (by the limit, or when it ended), nodes. What a user chooses, as the
# job's name and comment, is not asked for.
FORMAT = "%A|%U|%g|%T|%e|%N"
_LINE = re.compile(
    r"(?P<job>[1-9][0-9]{0,9})\|(?P<uid>0|[1-9][0-9]{0,9})\|(?P<group>[^|]*)\|(?P<state>[A-Z_]+)\|"
    r"(?P<end>[0-9]{1,11}|NONE|N/A|Unknown|)\|(?P<nodes>[^|\s]*)"
)
_WHOLE = re.compile(r"(?:\[[^\[\]]*\]|[^\[\]])*")
_PART = re.compile(r"(?:\[[^\[\]]*\]|[^\[\],])+")  # of the list: commas within brackets are of the numbers
_PIECE = re.compile(r"\[([^\[\]]*)\]|([^\[\]]+)")
_SPAN = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
_MOST_NODES = 65_536  # of one list: more is no cluster of anybody's
_LIVE = {"CONFIGURING", "RUNNING", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING"}
_ENDING = {"COMPLETING", "STAGE_OUT"}


class Stage(Enum):
    """What a state of Slurm's means for a job's identities."""

    LIVE = "live"  # its processes are there, or are about to be
    ENDING = "ending"  # they have been told to end: a trap may still save something
    AWAY = "away"  # there are none: it waits, was requeued, or is over


@dataclass(frozen=True, slots=True)
class Job:
    """One job, or one element of an array."""

    number: int
    uid: int
    group: str  # the user's own when it was submitted, which munge or Slurm vouched for
    stage: Stage
    ends_at: int  # Unix seconds; 0: it has no limit
    nodes: str  # as Slurm writes them, n[1-3]


def parse(text: str) -> tuple[Job, ...]:
    """The jobs in what `squeue --noheader --format FORMAT` printed; raises INVALID for a line that is none."""
    return tuple(_job(line.strip()) for line in text.splitlines() if line.strip())


def _job(line: str) -> Job:
    found = _LINE.fullmatch(line)
    if found is None:
        raise RingfenceError(
            Kind.INVALID, f"squeue printed {line!r}, which is no job", hint="Let --squeue name Slurm's own"
        )
    end = int(found["end"]) if found["end"].isdigit() else 0
    return Job(int(found["job"]), int(found["uid"]), found["group"], _stage(found["state"]), end, found["nodes"])


def _stage(state: str) -> Stage:
    if state in _LIVE:
        return Stage.LIVE
    return Stage.ENDING if state in _ENDING else Stage.AWAY


def hosts(text: str) -> tuple[str, ...]:
    """The nodes that a list names, each once: `n[1-2,07]x,login` as scontrol(1) `show hostnames`. Raises INVALID."""
    if not _WHOLE.fullmatch(text):
        raise _refused(text)
    found: dict[str, None] = {}
    for part in _PART.findall(text):
        for name in _expanded(part, text):
            found[name] = None
            if len(found) > _MOST_NODES:
                raise _refused(text)
    return tuple(found)


def _expanded(part: str, text: str) -> Iterator[str]:
    pieces = ([found[2]] if found[2] else _numbers(found[1], text) for found in _PIECE.finditer(part))
    return ("".join(each) for each in product(*pieces))


def _numbers(spans: str, text: str) -> list[str]:
    """`1-3,07` is 1, 2, 3, 07: zeros in front are a part of the name."""
    found: list[str] = []
    for span in spans.split(","):
        match = _SPAN.fullmatch(span)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if match is None or not first <= last < first + _MOST_NODES:
            raise _refused(text)
        found += [f"{number:0{len(match[1])}}" for number in range(first, last + 1)]
    return found


def _refused(text: str) -> RingfenceError:
    return RingfenceError(Kind.INVALID, f"{text[:200]!r} is no list of nodes", hint="As Slurm writes them: n[1-3],m7")
