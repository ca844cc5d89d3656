"""The page on the doctor has the table of signatures as the code has it."""

from __future__ import annotations

from pathlib import Path

from ringfence.fabric.doctor.bounded import MAX_FACTS, MAX_LINE, MAX_ROWS, MAX_TEXT
from ringfence.fabric.doctor.signatures import SIGNATURES

PAGE = (Path(__file__).parent.parent.parent / "docs" / "fabric-doctor.md").read_text()


def test_the_table_is_the_code_s():
    """Code, level, cause, fix and the way that it proves: every row, in order, and no other."""
    rows = [
        f"| {code} | {known.level} | {known.cause} | {known.fix} | {known.way or '-'} |"
        for code, known in SIGNATURES.items()
    ]
    assert [line for line in PAGE.splitlines() if line.startswith("| RF6")] == rows


def test_the_limits_are_the_code_s():
    """What the page promises of large files."""
    assert f"{MAX_TEXT // 1024**2} MiB of a file, {MAX_LINE:,} characters of a line or {MAX_FACTS:,} facts" in PAGE
    assert f"it judges {MAX_ROWS:,}" in PAGE
