"""The page on emitters has a row for each of them."""

from __future__ import annotations

import re
from pathlib import Path

from ringfence.fabric.emit.targets import TARGETS

PAGE = (Path(__file__).parent.parent.parent / "docs" / "fabric-emit.md").read_text()


def test_every_target_has_a_row() -> None:
    """In their order, and no other."""
    assert re.findall(r"^\| `([a-z-]+)` \|", PAGE, re.MULTILINE) == list(TARGETS)
