"""A store of one test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ringfence.broker.store.engine import Store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """Fresh, on disk."""
    opened = await Store.open(tmp_path / "store.sqlite3")
    yield opened
    await opened.close()
