"""What nccl-tests prints, as a table and as JSON."""

from __future__ import annotations

from ringfence.fabric.doctor.nccl_tests import nccl_tests
from tests.fabric.doctor import samples


def test_nccl_tests_as_a_table():
    """The better half counts, wrong values of both; mpirun's prefix and `-I` columns are borne."""
    run = nccl_tests(samples.TESTS, "t")
    assert (run.average, run.average_line, run.wrong, run.wrong_line) == (4.1234, 7, 2, 6)
    assert [(row.line, row.size, row.bus, row.wrong) for row in run.rows] == [
        (4, 1024, 0.10, 0),
        (5, 134217728, 8.20, 2),
    ]
    wide = "[1,0]<stdout>: 8 2 float sum -1 1.0 1.0 2.0 0 1 2 3 4 1.0 1.0 3.0 1 1 2 3 4"
    assert [(row.bus, row.wrong) for row in nccl_tests(wide, "t").rows] == [(3.0, 1)]


def test_nccl_tests_as_json():
    """`-J` names the average and the wrong values."""
    run = nccl_tests(
        '{"out_of_bounds": {"count": 3, "okay": false}, "average_bus_bandwidth": {"bandwidth": 225.1}}', "t"
    )
    assert (run.wrong, run.average) == (3, 225.1)
