"""A try counts as a way in unless it was refused, so that a scan cannot pass for want of an answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.broker.demo.fraud.intrusion import GATEWAY, SCORER, _reached
from ringfence.broker.demo.fraud.stage import FraudStage


@pytest.mark.parametrize(
    ("status", "reached"), [(0, False), (403, False), (200, True), (404, True), (429, True), (503, True)]
)
def test_only_a_refusal_or_no_answer_is_no_way_in(status: int, *, reached: bool) -> None:
    """A wrong path, a full bucket or a dead application means that the rules had let it through."""
    assert _reached({"status": status}) is reached


def test_what_core_banking_kept_of_others_than_the_gateway_is_found(tmp_path: Path) -> None:
    """By the name that its proxy put on the request, which no caller can."""
    stage = FraudStage(tmp_path, print)
    assert stage.foreign_records("core", GATEWAY) == []
    lines = [f'{{"caller": "By=x;URI={who}"}}' for who in (GATEWAY, SCORER)]
    stage.records("core").write_text("\n".join(lines) + "\n")

    assert stage.foreign_records("core", GATEWAY) == [lines[1]]
