"""What tests of `ringfence run` share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose name leaves room for Unix sockets, however deep pytest's own are."""
    with tempfile.TemporaryDirectory(prefix="rf-") as folder:
        yield Path(folder)
