"""Waiting for proxies to hold a revision: for `ringfence proxy wait` and `ringfence policy apply --wait`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import click

from ringfence.broker.cli.admin_client import Where, admin_client
from ringfence.broker.cli.failure import ANSWER_IS_NO, FAILED, OK, TIMED_OUT

_LONGER = 10.0  # seconds that the server has to say that the time is over
_DIGITS = 12
CODES = {"held": OK, "refused": ANSWER_IS_NO, "timeout": TIMED_OUT}


def wait(socket: Where, revision: str, names: Sequence[str], seconds: int) -> int:
    """Wait, say on stderr how it ended, and return the exit code that says so."""
    last = asyncio.run(_last(socket, revision, names, seconds))
    for line in told(last, revision):
        click.echo(line, err=True)
    return CODES.get(last.outcome, FAILED)


def told(last: Any, revision: str) -> list[str]:
    """The last answer of the server as lines for people."""
    short = revision[:_DIGITS]
    hold = f"{last.holding} of {last.meant} proxies hold revision {short}"
    match last.outcome:
        case "held":
            return [hold]
        case "refused":
            lines = [f"Error: {hold}; it was refused by"]
        case "superseded":
            return [f"Error: revision {short} is not in force any more; {last.revision[:_DIGITS]} is"]
        case _ if not last.revision.startswith(revision):
            return [f"Error: revision {short} is not in force here; {last.revision[:_DIGITS] or 'none'} is"]
        case _:
            lines = [f"Error: {hold}; waited in vain for"]
    lines += [f"  {row.node}: {row.state} {row.detail}".rstrip() for row in last.late]
    return lines + [f"  {name}: no proxy of it is connected" for name in last.missing]


async def _last(socket: Where, revision: str, names: Sequence[str], seconds: int) -> Any:
    from ringfence.admin.v1 import admin_pb2

    asked = admin_pb2.WatchProxiesRequest(revision=revision, names=names, timeout_ms=1000 * seconds)
    last = admin_pb2.WatchProxiesResponse(outcome="waiting")
    async with admin_client(socket) as server:
        async for answer in server.WatchProxies(asked, timeout=seconds + _LONGER if seconds else None):
            last = answer
    return last
