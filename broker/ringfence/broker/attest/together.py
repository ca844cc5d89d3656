"""Asking all workload attestors at once, each within a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ringfence.broker.attest.port import Partly, WorkloadAttestor
from ringfence.broker.attest.procfs import Process
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.selectors import Selector

DEADLINE = 10.0  # seconds for each; the largest binary is hashed in less

Found = frozenset[Selector]


async def ask_all(
    attestors: Sequence[WorkloadAttestor], process: Process, wanted: frozenset[str], *, seconds: float = DEADLINE
) -> tuple[Found, dict[str, Exception]]:
    """What is true of *process*, and by name the attestors that could not tell.

    The others' selectors are used: fewer selectors match fewer entries, never more.
    """
    asked = [attestor for attestor in attestors if not attestor.facts or attestor.facts & wanted]
    questions = [_ask(attestor, process, wanted, seconds) for attestor in asked]
    # One alone, which is the usual case, needs no task of its own.
    answers = await asyncio.gather(*questions) if len(questions) > 1 else [await each for each in questions]
    found: frozenset[Selector] = frozenset()
    failures: dict[str, Exception] = {}
    for attestor, answer in zip(asked, answers, strict=True):
        if isinstance(answer, Exception):
            failures[attestor.name] = answer
            found |= answer.found if isinstance(answer, Partly) else frozenset()
        else:
            found |= answer
    return found, failures


async def _ask(
    attestor: WorkloadAttestor, process: Process, wanted: frozenset[str], seconds: float
) -> Found | Exception:
    try:
        async with asyncio.timeout(seconds):
            return await attestor.attest(process, wanted)
    except TimeoutError:
        return RingfenceError(Kind.TIMEOUT, f"no answer within {seconds:g} s")
    except Exception as error:  # noqa: BLE001  # whatever ails one attestor, the others are used
        return error
