"""Bundles of other trust domains and where they are fetched, on disk; each function runs inside one transaction."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, select

from ringfence.broker.federation.relation import Profile, Relation
from ringfence.broker.store import changes
from ringfence.broker.store.changes import ChangeKind
from ringfence.broker.store.schema import federated_bundles, federations
from ringfence.broker.store.upsert import upsert
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain


@dataclass(frozen=True, slots=True)
class Held:
    """A bundle and when it last changed here, in Unix seconds."""

    bundle: SpiffeBundle
    changed_at: int


def every(connection: Connection) -> tuple[list[Held], list[Relation]]:
    """All that is kept, by name."""
    bundles = connection.execute(select(federated_bundles).order_by(federated_bundles.c.trust_domain))
    held = [Held(SpiffeBundle.parse(TrustDomain(row.trust_domain), row.bundle), row.changed_at) for row in bundles]
    rows = connection.execute(select(federations).order_by(federations.c.trust_domain))
    relations = [
        Relation(
            TrustDomain(row.trust_domain),
            row.url,
            Profile(row.profile),
            SpiffeId.parse(row.endpoint_id) if row.endpoint_id else None,
            row.created_at,
        )
        for row in rows
    ]
    return held, relations


def put_bundle(connection: Connection, held: Held) -> None:
    """Keep a bundle in place of the one before."""
    changed = {"bundle": held.bundle.to_json(), "changed_at": held.changed_at}
    upsert(connection, federated_bundles, {"trust_domain": held.bundle.trust_domain.name}, changed=changed)
    _changed(connection, held.bundle.trust_domain)


def remove_bundle(connection: Connection, trust_domain: TrustDomain) -> None:
    """Keep it no longer."""
    connection.execute(delete(federated_bundles).where(federated_bundles.c.trust_domain == trust_domain.name))
    _changed(connection, trust_domain)


def put_relation(connection: Connection, relation: Relation, bootstrap: Held | None) -> None:
    """Keep a new relation, and the bundle that it begins with."""
    connection.execute(
        federations.insert().values(
            trust_domain=relation.trust_domain.name,
            url=relation.url,
            profile=relation.profile.value,
            endpoint_id=str(relation.endpoint_id or ""),
            created_at=relation.created_at,
        )
    )
    _changed(connection, relation.trust_domain)
    if bootstrap is not None:
        put_bundle(connection, bootstrap)


def replace_relation(connection: Connection, relation: Relation, bootstrap: Held | None) -> None:
    """Keep a relation in place of the one before; its bundle stays, unless there is another to begin with."""
    connection.execute(delete(federations).where(federations.c.trust_domain == relation.trust_domain.name))
    put_relation(connection, relation, bootstrap)


def remove_relation(connection: Connection, trust_domain: TrustDomain) -> None:
    """Keep neither the relation nor its bundle (SPIFFE_Federation.md section 6.3)."""
    connection.execute(delete(federations).where(federations.c.trust_domain == trust_domain.name))
    remove_bundle(connection, trust_domain)


def _changed(connection: Connection, trust_domain: TrustDomain) -> None:
    changes.append(connection, [(ChangeKind.FEDERATION, trust_domain.name)])
