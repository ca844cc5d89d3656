"""What nccl-tests printed: a row a size, wrong values, the average bus bandwidth; its table or its `-J` file.

Source: nccl-tests 2.19. busbw is algbw times 2(n-1)/n for allreduce, so that it compares with a link's rate.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ringfence.fabric.doctor.bounded import MAX_FACTS, decimal, from_json, lines, whole

_COLUMNS = 13  # size count type redop root, then time algbw busbw #wrong out of place and again in place
_AVERAGE = re.compile(r"# Avg bus bandwidth\s*:\s*([0-9.]{1,20})")
_BOUNDS = re.compile(r"# Out of bounds values\s*:\s*([0-9]{1,20}) (OK|FAILED)")


@dataclass(frozen=True, slots=True)
class Row:
    """One size in bytes: the better bus bandwidth of the two halves in GB/s, and how many values were wrong."""

    line: int
    size: int
    bus: float
    wrong: int


@dataclass(frozen=True, slots=True)
class NcclTests:
    """One run; *average* is the bus bandwidth in GB/s, None where the run did not get to its end."""

    path: str
    rows: tuple[Row, ...] = ()
    average: float | None = None
    average_line: int = 1
    wrong: int = 0  # values out of bounds over all sizes
    wrong_line: int = 1

    @property
    def peak(self) -> Row | None:
        """The row of the highest bus bandwidth."""
        return max(self.rows, key=lambda row: row.bus, default=None)


def nccl_tests(text: str, path: str) -> NcclTests:
    """The run that *text* from *path* tells of."""
    told = from_json(text) if text.lstrip()[:1] == "{" else None
    return _of_json(told, path) if isinstance(told, dict) else _of_table(text, path)


def _of_table(text: str, path: str) -> NcclTests:
    rows: list[Row] = []
    average, average_line, wrong, wrong_line = None, 1, 0, 1
    for number, line in lines(text):
        if found := _AVERAGE.search(line):
            average, average_line = decimal(found.group(1)), number
        elif found := _BOUNDS.search(line):
            wrong, wrong_line = int(found.group(1)), number
        elif len(rows) < MAX_FACTS and (row := _row(number, line)):
            rows.append(row)
    return NcclTests(path, tuple(rows), average, average_line, wrong, wrong_line)


def _row(number: int, line: str) -> Row | None:
    """A prefix of mpirun is left out; `-I` adds columns at the end of each half, which moves the second one."""
    cells = line.rpartition(">:")[2].split()
    if len(cells) < _COLUMNS or (len(cells) - 5) % 2:
        return None
    half = (len(cells) - 5) // 2
    size, first, second = whole(cells[0]), decimal(cells[7]), decimal(cells[7 + half])
    if size is None or first is None or second is None or whole(cells[1]) is None:
        return None
    return Row(number, size, max(first, second), (whole(cells[8]) or 0) + (whole(cells[8 + half]) or 0))


def _of_json(told: dict[str, Any], path: str) -> NcclTests:
    bounds, average = told.get("out_of_bounds"), told.get("average_bus_bandwidth")
    count = whole(bounds.get("count")) if isinstance(bounds, dict) else None
    mean = decimal(average.get("bandwidth")) if isinstance(average, dict) else None
    return NcclTests(path, (), mean, 1, count or 0, 1)
