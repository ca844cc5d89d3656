"""docs/grpc.md says what the tests hold: every difference by its name, every row by its number."""

from __future__ import annotations

import re
from pathlib import Path

from tests.differential.divergences import ALLOWS_MORE, DENIES_MORE
from tests.differential.test_grpc_dialect import ALLOWS_ALL, DIALS, JUDGES, ROWS

PAGE = (Path(__file__).parent.parent.parent / "docs" / "grpc.md").read_text()


def test_every_difference_is_on_the_page_and_no_other() -> None:
    """A difference that is excused in a test only is one that nobody was told of."""
    part = PAGE.partition("## Where gRPC and the evaluator differ")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", part, re.MULTILINE) == [*DENIES_MORE, *ALLOWS_MORE]


def test_every_row_is_on_the_page_with_its_outcome() -> None:
    """As it is measured."""
    for row in ROWS:
        told = {ALLOWS_ALL: "**allows all**", JUDGES: "judges"}.get(
            row.outcome, "refused" if row.says else "denies all"
        )
        assert f"| T8.{row.number} | {row.what} | {told} |" in PAGE
    for dial in DIALS:
        told = "**OK**" if dial.code == "OK" and dial is not DIALS[0] else dial.code
        assert f"| T8.{dial.number} | {dial.what} | {told} |" in PAGE
