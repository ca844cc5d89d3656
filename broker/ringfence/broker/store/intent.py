"""Applied intent on disk: documents as they were written, who applied them, and where each rule stood."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from ringfence.broker.store.changes import ChangeKind, append
from ringfence.broker.store.document import Document
from ringfence.broker.store.schema import documents, intents, rules

_APPLIES_KEPT = 100  # whose documents are kept whole; rules are kept for good


@dataclass(frozen=True, slots=True)
class Apply:
    """One apply: content hash of the model, who did it, from which commit (both may be empty), when."""

    revision: str
    author: str
    commit: str
    applied_at: int


@dataclass(frozen=True, slots=True)
class RuleOrigin:
    """Where a rule with this meaning (hash) was written, and the apply that brought it into force."""

    rule: str  # namespace/name
    hash: str
    path: str
    line: int
    revision: str
    author: str
    commit: str
    effect: str  # allow | deny
    owner: str
    reason: str


def record(connection: Connection, apply: Apply, texts: Sequence[Document], origins: Iterable[RuleOrigin]) -> int:
    """Store one apply and the origins that are new or moved with it; the revision of the change feed."""
    seq = newest(connection) + 1
    connection.execute(
        intents.insert().values(
            seq=seq,
            revision=apply.revision,
            author=apply.author,
            commit=apply.commit,
            applied_at=apply.applied_at,
        )
    )
    rows = [{"seq": seq, "position": i, "path": d.path, "text": d.text} for i, d in enumerate(texts)]
    if rows:
        connection.execute(documents.insert(), rows)
    moved = [{"seq": seq} | {name: getattr(origin, name) for name in RuleOrigin.__slots__} for origin in origins]
    if moved:
        connection.execute(rules.insert(), moved)
    connection.execute(documents.delete().where(documents.c.seq <= seq - _APPLIES_KEPT))
    return append(connection, [(ChangeKind.INTENT, apply.revision)])


def newest(connection: Connection) -> int:
    """The sequence of the last apply, each of which is one higher than the one before; 0 before the first."""
    seq: int = connection.execute(select(func.coalesce(func.max(intents.c.seq), 0))).scalar_one()
    return seq


def last(connection: Connection) -> tuple[Apply, list[Document]] | None:
    """The apply in force with its documents, or None when nothing was ever applied."""
    row = connection.execute(select(intents).order_by(intents.c.seq.desc()).limit(1)).one_or_none()
    if row is None:
        return None
    query = select(documents).where(documents.c.seq == row.seq).order_by(documents.c.position)
    texts = [Document(d.path, d.text) for d in connection.execute(query)]
    return Apply(row.revision, row.author, row.commit, row.applied_at), texts


def origins(connection: Connection, *, after: int = 0) -> dict[tuple[str, str], RuleOrigin]:
    """By rule and hash, the newest origin of every rule that was ever applied, or since the apply *after*."""
    query = select(*(rules.c[name] for name in RuleOrigin.__slots__)).order_by(rules.c.seq)
    query = query.where(rules.c.seq > after)
    return {(row.rule, row.hash): RuleOrigin(*row) for row in connection.execute(query)}
