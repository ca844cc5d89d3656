"""What a server has to write of its nodes' claims: whom to let in, whom to keep, whom to let go and why; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.claims import Claim
from ringfence.fabric.membership import LEASE, Judged, Owners, Standing

MOST_CLAIMS = 1_024  # of one agent
_DUE = LEASE // 2  # seconds left of a lease when it is renewed
_SOON = LEASE * 3 // 4  # and with it every other that has no more left: nodes are told of all of them at once


@dataclass(frozen=True, slots=True)
class Steps:
    """`put` are claims that stand from now on or longer, `gone` those that do not, each with the reason."""

    put: tuple[Standing, ...]
    gone: tuple[tuple[Standing, str], ...]
    refused: Mapping[Claim, RingfenceError]


def steps(
    asked: Mapping[str, tuple[Claim, ...]],
    stored: Iterable[Standing],
    judgement: Judged,
    judge: Callable[[Claim], int],
    *,
    now: int,
    me: str,
) -> Steps:
    """What is to be written at *now* by the server *me*, whose connected agents have *asked* for these claims.

    *judgement* is what stands of *stored*; *judge* raises for a claim that nothing gives leave for.
    """
    rows = {one.claim.key: one for one in stored}
    wanted = [claim for claims in asked.values() for claim in claims[:MOST_CLAIMS]]
    too_many = [claim for claims in asked.values() for claim in claims[MOST_CLAIMS:]]
    put, refused = list[Standing](), dict.fromkeys(too_many, _too_many())
    gone = [(row, why) for row in rows.values() if (why := _why(row, asked, judgement, me))]
    owners = _owners(judgement, gone)
    soon = _soon([rows[claim.key] for claim in wanted if claim.key in rows], now)
    for claim in wanted:
        row = rows.get(claim.key)
        try:
            judge(claim)
            if row is None or row.claim != claim or row not in judgement.standing:
                owners.take(claim)
        except RingfenceError as error:
            refused[claim] = error
            gone += [(row, error.detail)] if row is not None else []
        else:
            if row is None or row.claim != claim or row.leaves or row.server != me or row.until - now <= soon:
                since = row.since if row is not None and row.stands(now) else now
                put.append(Standing(claim, since, now + LEASE, 0, me))
    return Steps(tuple(put), tuple(gone), refused)


def next_renewal(asked: Mapping[str, tuple[Claim, ...]], stored: Iterable[Standing]) -> int | None:
    """When the first lease of a connected agent is due, Unix seconds."""
    return min((one.until - _DUE for one in stored if one.claim.agent in asked), default=None)


def _owners(judgement: Judged, gone: Iterable[tuple[Standing, str]]) -> Owners:
    """Of what stands and does not go: an address may change hands at once."""
    going = {row.claim.key for row, _ in gone}
    return Owners(one.claim for one in judgement.standing if one.claim.key not in going)


def _soon(rows: Iterable[Standing], now: int) -> int:
    """How many seconds may be left of a lease for it to be renewed now."""
    return _SOON if min((row.until - now for row in rows), default=LEASE) <= _DUE else 0


def _why(row: Standing, asked: Mapping[str, tuple[Claim, ...]], judgement: Judged, me: str) -> str:
    """Why a stored claim that nobody asks for here goes; empty: it stays, or is for another server to judge."""
    claims = asked.get(row.claim.agent)
    if claims is not None:
        return "" if any(claim.key == row.claim.key for claim in claims[:MOST_CLAIMS]) else "its node claims it no more"
    error = judgement.fallen.get(row)
    return error.detail if error is not None and row.server in {"", me} else ""


def _too_many() -> RingfenceError:
    detail = f"its node claims more than {MOST_CLAIMS} times at once"
    return RingfenceError(Kind.EXHAUSTED, detail, hint="Run fewer jobs on it")
