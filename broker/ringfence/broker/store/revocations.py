"""What was revoked, and the lists that say so, on disk; each function runs inside one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from sqlalchemy import ColumnElement, Connection, delete, select

from ringfence.broker.store import changes
from ringfence.broker.store.changes import ChangeKind
from ringfence.broker.store.ledger import INTENT, ISSUED
from ringfence.broker.store.schema import crls, issuance, revoked_identities, revoked_serials
from ringfence.broker.store.upsert import upsert
from ringfence.certs.crl import Crl, read_crl
from ringfence.certs.revocation import Revocations, RevokedIdentity, RevokedSerial

_CHANGE = [(ChangeKind.REVOKED, "")]


@dataclass(frozen=True, slots=True)
class Held:
    """All that is kept: what is revoked, and the newest list of each authority by its key id."""

    revocations: Revocations = field(default_factory=Revocations)
    crls: dict[str, Crl] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Document:
    """A certificate of the ledger that may be revoked; one that was only intended may have been signed."""

    serial: str
    spiffe_id: str
    authority: str
    node: str
    not_after: int


def every(connection: Connection) -> Held:
    """Everything that is revoked."""
    serials = (RevokedSerial(**row._mapping) for row in connection.execute(select(revoked_serials)))  # noqa: SLF001  # public
    identities = (RevokedIdentity(**row._mapping) for row in connection.execute(select(revoked_identities)))  # noqa: SLF001
    lists = connection.execute(select(crls.c.der)).scalars()
    return Held(Revocations.of(serials, identities), {crl.authority: crl for crl in map(read_crl, lists)})


def documents(
    connection: Connection, now: int, *, spiffe_id: str = "", node: str = "", serial: str = ""
) -> list[Document]:
    """The X.509-SVIDs that have not ended and are not revoked, of an identity, through a node, or of one serial."""
    columns = issuance.c
    named = ((columns.spiffe_id, spiffe_id), (columns.agent_id, node), (columns.serial, serial))
    wanted: list[ColumnElement[bool]] = [column == value for column, value in named if value]
    wanted += [columns.kind == "x509", columns.state.in_((INTENT, ISSUED)), columns.not_after > now]
    wanted.append(columns.serial.not_in(select(revoked_serials.c.serial)))
    query = select(columns.serial, columns.spiffe_id, columns.authority, columns.agent_id, columns.not_after)
    return [Document(*row) for row in connection.execute(query.where(*wanted).order_by(columns.serial))]


def revoke(
    connection: Connection, serials: Sequence[RevokedSerial], identities: Sequence[RevokedIdentity] = ()
) -> None:
    """Record them; an identity that is revoked already has the newer words."""
    if serials:
        connection.execute(revoked_serials.insert(), [asdict(one) for one in serials])
    for one in identities:
        row = asdict(one)
        upsert(connection, revoked_identities, {"spiffe_id": row.pop("spiffe_id")}, changed=row)
    if serials or identities:
        changes.append(connection, _CHANGE)


def lift(connection: Connection, spiffe_ids: Iterable[str]) -> list[str]:
    """Revoke these identities no longer; those that were. The serials that were revoked with them stay revoked."""
    lifted = []
    for spiffe_id in spiffe_ids:
        gone = delete(revoked_identities).where(revoked_identities.c.spiffe_id == spiffe_id)
        if connection.execute(gone).rowcount:
            lifted.append(spiffe_id)
    if lifted:
        changes.append(connection, _CHANGE)
    return lifted


def forget(connection: Connection, now: int) -> bool:
    """Drop serials that have ended, and lists that have nothing left to say; whether there were any."""
    gone = connection.execute(delete(revoked_serials).where(revoked_serials.c.not_after <= now)).rowcount
    idle = crls.c.authority.not_in(select(revoked_serials.c.authority))
    gone += connection.execute(delete(crls).where(idle)).rowcount
    if gone:
        changes.append(connection, _CHANGE)
    return gone > 0


def put_crls(connection: Connection, made: Sequence[Crl]) -> None:
    """Keep the newest list of each of these authorities."""
    for crl in made:
        changed = {"number": crl.number, "der": crl.der}
        upsert(connection, crls, {"authority": crl.authority}, changed=changed)
    changes.append(connection, _CHANGE)
