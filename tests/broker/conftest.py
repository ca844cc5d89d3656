"""What tests with grpcio clients share."""

from __future__ import annotations

from collections.abc import Iterator

import grpc.aio
import pytest


@pytest.fixture(autouse=True, scope="session")
def grpcio_poller() -> Iterator[None]:
    """Keeps grpcio's poller thread: it is joined, which blocks, when the last channel is collected in some test's loop."""
    grpc.aio.init_grpc_aio()
    yield
    grpc.aio.shutdown_grpc_aio()
