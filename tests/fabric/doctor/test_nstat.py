"""The kernel's counters of TCP."""

from __future__ import annotations

from ringfence.fabric.doctor.nstat import nstat
from tests.fabric.doctor import samples


def test_nstat_in_both_forms():
    """A table with lines, or JSON."""
    table = nstat(samples.NSTAT, "n")
    assert (table.counters["TcpRetransSegs"], table.lines["TcpRetransSegs"]) == (25000, 3)
    assert nstat('{"kernel": {"TcpOutSegs": 7, "Odd": "x"}}', "n").counters == {"TcpOutSegs": 7}
