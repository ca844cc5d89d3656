"""The wire code that is checked in is what the .proto files give."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

GENERATE = Path(__file__).parents[2] / "proto" / "generate.py"


@pytest.mark.slow
def test_checked_in_code_is_current(monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed .proto without `make proto` is noticed, and named."""
    spec = importlib.util.spec_from_file_location("generate", GENERATE)
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "generate", generate)
    spec.loader.exec_module(generate)
    assert generate.differing() == []
