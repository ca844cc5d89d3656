"""What RAS answers, as text and as JSON."""

from __future__ import annotations

from ringfence.fabric.doctor.ras import ras
from tests.fabric.doctor import samples


def test_ras_as_text():
    """A fault is named on its own line; the version and the column of errors are none."""
    told = ras(samples.RAS_TEXT, "ras.txt")
    assert told.version == "2.27.3"
    assert [(one.line, one.kind, one.communicator, one.lost) for one in told.faults] == [
        (12, "DEAD", "", True),
        (15, "INCOMPLETE", "#0-0 (1f2e3d4c5b6a7988)", True),
        (21, "TIMEOUT", "", False),
    ]


def test_ras_as_json():
    """Ranks that gave no data, and one that reports an error."""
    told = ras(samples.RAS_JSON, "ras.json")
    assert [(one.kind, one.communicator, one.detail) for one in told.faults] == [
        ("INCOMPLETE", "0xabc", "1 of 4 ranks gave no data"),
        ("ERROR", "0xabc", "rank 2 reports an error"),
    ]
