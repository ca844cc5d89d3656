"""References by pid: a process of this node, attested by the agent itself and held by a pidfd."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from ringfence.broker.agent.callers import Caller, Callers
from ringfence.broker.attest.named import held
from ringfence.broker.attest.procfs import Process
from ringfence.broker.broker_api.refusals import invalid_reference, not_entitled, not_found
from ringfence.proto.status import Status


@dataclass(frozen=True, slots=True)
class PidResolver:
    """WorkloadPIDReference; a pid is one of the agent's own PID namespace."""

    callers: Callers

    @asynccontextmanager
    async def held(self, reference: Any, ended: Callable[[Status], None]) -> AsyncIterator[Caller]:
        """The process; its end is told by the kernel at once."""
        # 1. It can be a workload's: positive, and not the agent itself, which holds everybody's keys.
        if reference.pid <= 0:
            raise invalid_reference("a pid is positive", pid=str(reference.pid))
        if reference.pid == os.getpid():
            raise not_entitled("the agent is no workload", pid=str(reference.pid))
        # 2. Held before anything is read of it, so that its pid cannot come to mean another process.
        with held(reference.pid) as process, _told_of_end(process, ended), self._told_of_change(process, ended):
            # 3. What is true of it is what our attestors see. It is checked again before each message.
            yield await self.callers.attest(process)

    @contextmanager
    def _told_of_change(self, process: Process, ended: Callable[[Status], None]) -> Iterator[None]:
        """Another program or user under that pid is not the workload that was named."""
        release = self.callers.holders.hold(process, lambda error: ended(not_found(error.detail, pid=str(process.pid))))
        try:
            yield
        finally:
            release()


@contextmanager
def _told_of_end(process: Process, ended: Callable[[Status], None]) -> Iterator[None]:
    loop, pidfd = asyncio.get_running_loop(), process.pidfd
    assert pidfd is not None  # noqa: S101  # it is held by one

    def died() -> None:
        loop.remove_reader(pidfd)
        ended(not_found(f"process {process.pid} has ended", pid=str(process.pid)))

    loop.add_reader(pidfd, died)
    try:
        yield
    finally:
        loop.remove_reader(pidfd)
