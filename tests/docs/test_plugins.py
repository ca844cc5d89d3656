"""Every plug-in has a page of its own, with a table of what it takes or tells and a sample to copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.broker.keys.choice import DISK, MEMORY, PKCS11
from ringfence.certs.selectors import NAMES

DOCS = Path(__file__).parents[2] / "docs"
ATTESTORS = {*NAMES, "join_token"}  # join tokens tell nothing of a node
KEY_MANAGERS = {DISK, MEMORY, PKCS11}
UPSTREAMS = {"disk", "ringfence", "spire"}
PAGES = [
    *(f"attestors/{name}.md" for name in sorted(ATTESTORS)),
    *(f"keys/{name}.md" for name in sorted(KEY_MANAGERS)),
    *(f"upstream-{name}.md" for name in sorted(UPSTREAMS)),
]


@pytest.mark.parametrize("page", PAGES)
def test_a_plug_in_has_a_page_with_a_table_and_a_sample(page: str) -> None:
    """Its name is in the title; the samples are fenced."""
    text = (DOCS / page).read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert "\n|---|" in text
    assert "\n```" in text


def test_there_is_no_page_of_a_plug_in_that_is_not_there() -> None:
    """What was taken out of the code is not in the documentation either."""
    found = [path for pattern in ("attestors/*", "keys/*", "upstream-*") for path in DOCS.glob(pattern)]
    assert {path.relative_to(DOCS).as_posix() for path in found} == set(PAGES)
