"""What tests with grpcio clients share."""

from __future__ import annotations

from collections.abc import Iterator

import grpc.aio
import pytest


@pytest.fixture(autouse=True, scope="session")
def grpcio_poller() -> Iterator[None]:
    """Keeps grpcio's poller: its thread is joined, which blocks, when the last channel is collected in some loop."""
    grpc.aio.init_grpc_aio()  # type: ignore[attr-defined]  # the stubs lack it
    yield
    grpc.aio.shutdown_grpc_aio()  # type: ignore[attr-defined]
