"""What holds for every test: no blocking call in an event loop, and reproducible hypothesis."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import grpc.aio
import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import HealthCheck, settings

from tests import parts
from tests.failures.table import held

if TYPE_CHECKING:
    from tests.kubernetes import Kubernetes
    from tests.postgres import Cluster

# How long it takes to draw, and how much of it is of use, is the machine's luck or the draw's: no verdict on the code.
_LUCK = (HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large)
settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=_LUCK)
settings.register_profile("dev", deadline=None, suppress_health_check=_LUCK)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the cases of failure that it holds (docs/failures.md)."""
    cases = held()
    for item in items:
        for case in cases.get(item.nodeid.partition("[")[0], ()):
            item.add_marker(pytest.mark.failure(case=case, kind=int(case.partition(".")[0])))


@pytest.fixture(autouse=True, scope="session")
def grpcio_poller() -> Iterator[None]:
    """Keeps grpcio's poller: its thread is joined, which blocks, when the last channel is collected in some loop."""

    async def init() -> None:
        grpc.aio.init_grpc_aio()  # type: ignore[attr-defined]  # the stubs lack it

    asyncio.run(init())  # it needs a loop, and tests that ran before may have left none
    yield
    grpc.aio.shutdown_grpc_aio()  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def blockbuster(request: pytest.FixtureRequest) -> Iterator[BlockBuster | None]:
    """Fail whatever blocks the event loop in our own code; tests marked `e2e` start processes and are left alone."""
    if request.node.get_closest_marker("e2e") or request.node.get_closest_marker("envoy"):
        yield None
        return
    with blockbuster_ctx("ringfence") as guard:
        # Reading /proc at accept is the one blocking call that the loop allows (attest/procfs): it answers from memory.
        for name in ("os.read", "os.stat"):
            guard.functions[name].can_block_in(
                "ringfence/broker/attest/procfs.py", {"read", "_owner", "_file_of", "executable_of"}
            )
        guard.functions["os.stat"].can_block_in("ringfence/broker/attest/launch_folder.py", {"is_there"})  # nor a disk
        # A descriptor set is read once, as the code of the module that it belongs to is.
        guard.functions["io.BufferedReader.read"].can_block_in("ringfence/proto/private.py", {"__init__"})
        # A memfd is memory too: the ssl module takes keys from files only.
        guard.functions["os.write"].can_block_in("ringfence/broker/server/identity.py", {"_load_chain"})
        guard.functions["os.write"].can_block_in("ringfence/broker/agent/dial.py", {"load_chain"})
        yield guard


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A real PostgreSQL, started for the first test that asks for it; a fresh database of it is `database()`."""
    parts.postgres()
    from tests.postgres import cluster  # noqa: PLC0415  # its driver is needed by these tests only

    with cluster() as started:
        yield started


@pytest.fixture(scope="session")
def kubernetes() -> Iterator[Kubernetes]:
    """A real Kubernetes API, started for the first test that asks for it (mark them `k8s`: they share a worker)."""
    parts.built("kube-apiserver")
    from tests.kubernetes import cluster  # noqa: PLC0415  # as above

    with cluster() as started:
        yield started
