"""What the options of `ringfence run` ask for of a rank of a job."""

from __future__ import annotations

from pathlib import Path

import click

from ringfence.broker.run.rank import NO_RANK, WantedRank
from ringfence.broker.run.rendezvous import Meeting
from ringfence.broker.run.torchrun import options_of

_C10D = "c10d"


def rank_of(
    command: tuple[str, ...],
    namespace: str,
    *,
    fabrics: tuple[str, ...],
    job: str,
    secret_file: Path | None,
    bootstrap: str,
    rank: int | None,
    rendezvous: str,
    store_closed: bool,
    no_fabric: str,
    proxyless: bool,
) -> WantedRank:
    """The places and the meeting; an option that would do nothing is refused.

    *no_fabric*: why none reaches the command; empty where one may.
    """
    if not fabrics and (job or secret_file or bootstrap):
        raise click.UsageError("--job, --secret-file and --bootstrap go with --fabric")
    if fabrics and no_fabric:
        raise click.UsageError(no_fabric)
    meeting = _meeting(command, rank, rendezvous, on_fabric=bool(fabrics))
    if meeting and proxyless:
        raise click.UsageError("ranks meet through their proxies, and with --proxyless there is none")
    if store_closed and (fabrics or no_fabric or not meeting):
        why = "is for a rank without --fabric, --isolate and --capture, which close the store themselves"
        raise click.UsageError(f"--store-closed {why}")
    if not fabrics and not meeting:
        return NO_RANK
    within = tuple(_within(namespace, name) for name in fabrics)
    job = _within(namespace, job) if job else ""
    return WantedRank(within, job, secret_file, bootstrap, meeting, store_closed)


def _meeting(command: tuple[str, ...], rank: int | None, port: str, *, on_fabric: bool) -> Meeting | None:
    """Of torchrun always once it is said to be a rank, of anything else where that is asked for."""
    is_torchrun = options_of(command) is not None
    if rank is None and (port or (is_torchrun and on_fabric)):
        which = "--rendezvous" if port else "torchrun on a fabric"
        raise click.UsageError(f"{which} takes --rank N: which node of the job this is, from 0")
    return Meeting(rank, port or _C10D) if rank is not None and (port or is_torchrun) else None


def _within(namespace: str, name: str) -> str:
    return name if "/" in name else f"{namespace}/{name}"
