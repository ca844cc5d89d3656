"""What perftest's `ib_write_bw --report_gbits` prints: a table of sizes, of which the best average counts.

` #bytes     #iterations    BW peak[Gb/sec]    BW average[Gb/sec]   MsgRate[Mpps]`
"""

from __future__ import annotations

from ringfence.fabric.doctor.bounded import decimal, lines, whole

_COLUMNS = 5


def write_bw(text: str) -> float | None:
    """The best average in Gbit/s; None where no row of the table is there, or it is in another unit."""
    rates: list[float] = []
    gigabits = False
    for _, line in lines(text):
        gigabits = gigabits or "average[Gb/sec]" in line
        cells = line.split()
        if gigabits and len(cells) >= _COLUMNS and whole(cells[0]) and (rate := decimal(cells[3])) is not None:
            rates.append(rate)
    return max(rates, default=None)
