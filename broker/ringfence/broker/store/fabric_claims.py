"""Admitted claims of nodes on fabrics, on disk; each function runs inside one transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, delete, select, update

from ringfence.broker.store import changes
from ringfence.broker.store.changes import ChangeKind
from ringfence.broker.store.chunks import chunks
from ringfence.broker.store.schema import fabric_claims
from ringfence.broker.store.upsert import upsert
from ringfence.certs.errors import RingfenceError
from ringfence.fabric.claims import Claim
from ringfence.fabric.membership import Owners, Standing

_NAMES = ("agent", "fabric", "job", "spiffe_id", "entry_id")  # of a claim's key, in order


def every(connection: Connection, only: Iterable[str] | None = None) -> list[Standing]:
    """All of them, or those of the agents *only*."""
    query = select(fabric_claims)
    if only is None:
        return _found(connection, query)
    return [
        one
        for chunk in chunks(sorted(only))
        for one in _found(connection, query.where(fabric_claims.c.agent.in_(chunk)))
    ]


def put(connection: Connection, wanted: Sequence[Standing], now: int) -> Mapping[Standing, RingfenceError]:
    """Store *wanted*, anew or in the place of the same claim; those refused, which are not stored, and why.

    Refused is one with an address of a claim that stands at *now* (Unix seconds), of another node or tenant: judged
    here, in order, so that of two servers that are asked at once one refuses.
    """
    keys = {one.claim.key for one in wanted}
    held = [one.claim for one in every(connection) if one.claim.key not in keys and one.stands(now)]
    owners, refused = Owners(held), {}
    for one in wanted:
        try:
            owners.take(one.claim)
        except RingfenceError as error:
            refused[one] = error
        else:
            upsert(connection, fabric_claims, {"id": _id(one.claim)}, changed=_row(one))
    _changed(connection, (one.claim.agent for one in wanted if one not in refused))
    return refused


def remove(connection: Connection, gone: Iterable[Standing]) -> list[Standing]:
    """Forget *gone*, but not what another server than theirs has stored since; those that were there."""
    removed = []
    for one in gone:
        same = (fabric_claims.c.id == _id(one.claim), fabric_claims.c.server == one.server)
        if connection.execute(delete(fabric_claims).where(*same)).rowcount:
            removed.append(one)
    _changed(connection, (one.claim.agent for one in removed))
    return removed


def leave(connection: Connection, server: str, leaves: int, agents: Iterable[str] | None = None) -> list[str]:
    """Have the claims of *agents*, or of all that are connected to *server*, go at *leaves*; whose there were."""
    theirs = update(fabric_claims).where(fabric_claims.c.server == server, fabric_claims.c.leaves == 0)
    if agents is not None:
        theirs = theirs.where(fabric_claims.c.agent.in_(sorted(agents)))
    return _left(connection, theirs.values(leaves=leaves).returning(fabric_claims.c.agent))


def orphan(connection: Connection, server: str, leaves: int) -> list[str]:
    """The same for a *server* that is gone: any other one may then let go of what does not stand; whose there were."""
    left = leave(connection, server, leaves)
    theirs = update(fabric_claims).where(fabric_claims.c.server == server).values(server="")
    return [*left, *_left(connection, theirs.returning(fabric_claims.c.agent))]


def _left(connection: Connection, update: Any) -> list[str]:
    agents = sorted(set(connection.execute(update).scalars()))
    _changed(connection, agents)
    return agents


def _found(connection: Connection, query: Select[tuple[Any, ...]]) -> list[Standing]:
    return [
        Standing(
            Claim(row.agent, row.fabric, row.job, row.spiffe_id, row.entry_id, tuple(row.addresses)),
            *(row.since, row.until, row.leaves, row.server),
        )
        for row in connection.execute(query)
    ]


def _row(one: Standing) -> dict[str, Any]:
    names = dict(zip(_NAMES, one.claim.key, strict=True))
    times = {"since": one.since, "until": one.until, "leaves": one.leaves, "server": one.server}
    return {**names, **times, "addresses": list(one.claim.addresses)}


def _id(claim: Claim) -> str:
    return hashlib.sha256("\n".join(claim.key).encode()).hexdigest()


def _changed(connection: Connection, agents: Iterable[str]) -> None:
    if steps := [(ChangeKind.FABRIC_CLAIM, agent) for agent in dict.fromkeys(agents)]:
        changes.append(connection, steps)
