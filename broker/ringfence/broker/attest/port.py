"""What a workload attestor is: from a held process to the selectors that are true of it."""

from __future__ import annotations

from typing import Protocol

from ringfence.broker.attest.procfs import Process
from ringfence.certs.selectors import Selector


class WorkloadAttestor(Protocol):
    """One source of facts. It names only what it saw itself, never what the process says of itself."""

    name: str
    facts: frozenset[
        str
    ]  # that it can tell, as `unix:sha256`; it is asked only when one is wanted, or if it names none

    async def attest(self, process: Process, wanted: frozenset[str]) -> frozenset[Selector]:
        """The selectors of *process*; raises RingfenceError or OSError when it can't tell.

        `wanted` holds the facts that some entry asks for, as `unix:sha256`: costly ones are found only then.
        """
        ...
