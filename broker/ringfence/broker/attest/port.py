"""What a workload attestor is: from a held process to the selectors that are true of it."""

from __future__ import annotations

from typing import Protocol

from ringfence.broker.attest.procfs import Process
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.selectors import Selector


class Partly(RingfenceError):  # noqa: N818  # raised where the rest is returned
    """Something could not be told, or not for sure; `found` is true all the same, and is used."""

    def __init__(self, detail: str, found: frozenset[Selector]) -> None:
        super().__init__(Kind.UNAVAILABLE, detail)
        self.found = found


class WorkloadAttestor(Protocol):
    """One source of facts. It names only what it saw itself, never what the process says of itself."""

    name: str
    facts: frozenset[
        str
    ]  # that it can tell, as `unix:sha256`; it is asked only when one is wanted, or if it names none

    async def attest(self, process: Process, wanted: frozenset[str]) -> frozenset[Selector]:
        """The selectors of *process*; raises RingfenceError (Partly with what it can tell) or OSError when it can't.

        `wanted` holds the facts that some entry asks for, as `unix:sha256`: costly ones are found only then.
        """
        ...
