"""The mesh of the rules learned, which each module that asks for it has to itself, and the workloads in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.learned import learned_mesh
from tests.e2e.stack import Stack, Workload


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """One mesh for all tests of a module."""
    with learned_mesh() as running:
        yield running


@pytest.fixture
def web(stack: Stack) -> Workload:
    """The workload that is called."""
    return stack.workload("shared/web")


@pytest.fixture
def client(stack: Stack, web: Workload) -> Workload:
    """The workload that may call it."""
    return stack.workload("team-a/client")
