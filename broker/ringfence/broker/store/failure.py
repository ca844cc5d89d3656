"""What a database's failure means to an operator."""

from __future__ import annotations

from ringfence.broker.store.location import Location
from ringfence.certs.errors import Kind, RingfenceError

# SQLite's texts (sqlite.org/rescode.html), then libpq's, which has no codes before a connection stands.
_WORDS = (
    ("database or disk is full", Kind.EXHAUSTED, "the disk is full", "Free some space; nothing recorded is lost"),
    ("readonly database", Kind.UNAVAILABLE, "the database may not be written", "Check its owner and the mount options"),
    ("database is locked", Kind.UNAVAILABLE, "another process holds the database", "One data directory, one server"),
    ("unable to open", Kind.UNAVAILABLE, "the database cannot be opened", "Check that the folder exists and its owner"),
    ("disk I/O error", Kind.UNAVAILABLE, "the disk does not answer", "Check the disk; nothing acknowledged is lost"),
    ("not a database", Kind.INVALID, "this is no database of ours", "Name another --data-dir, or restore a backup"),
    ("malformed", Kind.INVALID, "the database is damaged", "Restore a backup"),
    ("authentication failed", Kind.DENIED, "the database refuses this user", "Check PGPASSWORD or ~/.pgpass"),
    ("no password supplied", Kind.DENIED, "the database wants a password", "Set PGPASSWORD or write ~/.pgpass"),
    ("no pg_hba.conf entry", Kind.DENIED, "the database refuses this user from here", "Ask who runs it"),
    ("does not exist", Kind.INVALID, "there is no such database or user", "Create it first, or correct --database"),
)

# PostgreSQL's codes (manual, appendix A).
_LOCK_TIMEOUT = "55P03"
_CODES = {
    "53100": (Kind.EXHAUSTED, "the database's disk is full", "Free some space; nothing recorded is lost"),
    "53300": (Kind.UNAVAILABLE, "the database has no connection left", "Raise max_connections, or end other clients"),
    "25006": (Kind.UNAVAILABLE, "the database is read-only", "Name the primary, or target_session_attrs=read-write"),
    "42501": (Kind.DENIED, "the database's user may not do this", "Make it the owner of the database"),
    "22001": (Kind.INVALID, "a text is longer than its column", "Shorten it"),
    _LOCK_TIMEOUT: (Kind.CONFLICT, "another server holds the database", "Stop it, or name another --database"),
    "25P03": (Kind.UNAVAILABLE, "the transaction took too long and was undone", "Try again"),
    "57014": (Kind.UNAVAILABLE, "the database took too long", "See what else it is doing"),
}
_GONE = ("08", "57P")  # classes of lost connections and of shutdowns


def in_words(error: Exception, location: Location) -> RingfenceError:
    """*error* as a failure that may be shown; the original text stays as its cause only."""
    original = getattr(error, "orig", None) or error
    text, where = str(original), str(location)
    # 1. A code says more than a text.
    code = str(getattr(original, "sqlstate", None) or "")
    if code == _LOCK_TIMEOUT and "xact" in (getattr(error, "statement", None) or ""):
        return RingfenceError(Kind.UNAVAILABLE, "the database is busy", where=where, hint="See what else it is doing")
    if known := _CODES.get(code):
        kind, detail, hint = known
        return RingfenceError(kind, detail, where=where, hint=hint)
    # 2. Texts that are known.
    if not code:
        for fragment, kind, detail, hint in _WORDS:
            if fragment in text:
                return RingfenceError(kind, detail, where=where, hint=hint)
    first = location.without_password(text.partition("\n")[0])
    # 3. A network between us and it; the last words are the system's, or the database's own.
    if location.file is None and (code.startswith(_GONE) or not code):
        return RingfenceError(
            Kind.UNAVAILABLE,
            f"the database does not answer ({first.rpartition(': ')[2].strip()})",
            where=where,
            hint="Check that it runs and can be reached; nothing acknowledged is lost",
        )
    # 4. Its first line, which names tables and columns but no values.
    return RingfenceError(Kind.UNAVAILABLE, f"the database refused: {first}", where=where)
