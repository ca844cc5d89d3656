"""Reads the issuance ledger as an inventory: pages of documents, what each is now, and what it renews."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Row, ScalarSelect, Select, and_, func, not_, or_, select

from ringfence.broker.store.ledger import INTENT, ISSUED, REFUSED
from ringfence.broker.store.schema import issuance, revoked_identities, revoked_serials

PAGE = 500  # rows a transaction: issuing waits for the same thread, 5 ms at most
LIVE, REVOKED, ENDED, UNFINISHED = "live", "revoked", "ended", "unfinished"
STATES = (LIVE, REVOKED, ENDED, UNFINISHED, REFUSED)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to list; empty texts and 0 are any. `expiring` is seconds from now; `after` an (end, serial) seen last."""

    serial: str = ""
    spiffe_id: str = ""
    node: str = ""
    state: str = ""
    expiring: int = 0
    after: tuple[int, str] | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """One document of the ledger, as it is at the time of asking; times are Unix seconds."""

    serial: str
    kind: str
    spiffe_id: str
    entry_id: str
    node: str
    authority: str
    recorded_at: int
    not_after: int
    state: str
    reason: str
    renews: str
    renewed_by: str


def page(connection: Connection, wanted: Wanted, now: int, *, limit: int = PAGE) -> list[Identity]:
    """The next *limit* of *wanted*, in order of their end."""
    query = _query().where(*_filters(wanted, now)).order_by(issuance.c.not_after, issuance.c.serial).limit(limit)
    return [_identity(row, now) for row in connection.execute(query)]


def newest(connection: Connection, spiffe_id: str, entry_id: str, now: int) -> Identity | None:
    """The X509-SVID of that identity that was issued last by that entry, or None when none is kept."""
    mine = and_(issuance.c.spiffe_id == spiffe_id, issuance.c.entry_id == entry_id, *_issued_x509(issuance.c))
    query = _query().where(mine).order_by(issuance.c.recorded_at.desc(), issuance.c.serial).limit(1)
    row = connection.execute(query).one_or_none()
    return None if row is None else _identity(row, now)


def _query() -> Select[tuple[object, ...]]:
    renewals = _beside(later=False).label("renews"), _beside(later=True).label("renewed_by")
    return select(issuance, *renewals, _revoked().label("revoked"), _why_revoked().label("why_revoked"))


def _revoked() -> ColumnElement[bool]:
    """Whether the row's document, or its whole identity, is revoked."""
    return or_(
        issuance.c.serial.in_(select(revoked_serials.c.serial)),
        issuance.c.spiffe_id.in_(select(revoked_identities.c.spiffe_id)),
    )


def _why_revoked() -> ColumnElement[str]:
    """An operator's words: those on the document go before those on its identity."""
    serial, identity = revoked_serials.c, revoked_identities.c
    return func.coalesce(
        select(serial.reason).where(serial.serial == issuance.c.serial).scalar_subquery(),
        select(identity.reason).where(identity.spiffe_id == issuance.c.spiffe_id).scalar_subquery(),
        "",
    )


def _beside(*, later: bool) -> ScalarSelect[str]:
    """The serial of the X509-SVID before or after the row's, for the same entry on the same node."""
    other = issuance.alias()
    column = other.c.recorded_at
    time = column > issuance.c.recorded_at if later else column < issuance.c.recorded_at
    same = [other.c[name] == issuance.c[name] for name in ("spiffe_id", "agent_id", "entry_id", "kind", "state")]
    query = select(other.c.serial).where(*same, *_issued_x509(other.c), time)
    return query.order_by(column.asc() if later else column.desc(), other.c.serial).limit(1).scalar_subquery()


def _issued_x509(columns: object) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return columns.kind == "x509", columns.state == ISSUED  # type: ignore[attr-defined]  # columns by name


def _filters(wanted: Wanted, now: int) -> list[ColumnElement[bool]]:
    columns = issuance.c
    named = ((columns.serial, wanted.serial), (columns.spiffe_id, wanted.spiffe_id), (columns.agent_id, wanted.node))
    found = [column == value for column, value in named if value]
    if wanted.state:
        found.append(_is(wanted.state, now))
    if wanted.expiring:
        found += [_is(LIVE, now), columns.not_after <= now + wanted.expiring]
    if wanted.after is not None:
        end, serial = wanted.after
        found.append(or_(columns.not_after > end, and_(columns.not_after == end, columns.serial > serial)))
    return found


def _is(state: str, now: int) -> ColumnElement[bool]:
    stored, end = issuance.c.state, issuance.c.not_after
    match state:
        case "live":
            return and_(stored == ISSUED, end > now, not_(_revoked()))
        case "revoked":
            return and_(stored == ISSUED, end > now, _revoked())
        case "ended":
            return and_(stored == ISSUED, end <= now)
        case "unfinished":
            return stored == INTENT
        case _:
            return stored == state


def _identity(row: Row[tuple[object, ...]], now: int) -> Identity:
    state, reason = row.state, row.reason
    if state == ISSUED:
        state = LIVE if row.not_after > now else ENDED
    if state == LIVE and row.revoked:
        state, reason = REVOKED, row.why_revoked
    return Identity(
        serial=row.serial,
        kind=row.kind,
        spiffe_id=row.spiffe_id,
        entry_id=row.entry_id,
        node=row.agent_id,
        authority=row.authority,
        recorded_at=row.recorded_at,
        not_after=row.not_after,
        state=UNFINISHED if state == INTENT else state,
        reason=reason,
        renews=row.renews or "",
        renewed_by=row.renewed_by or "",
    )
