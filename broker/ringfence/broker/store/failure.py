"""What a database's failure means to an operator."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.exc import DBAPIError

from ringfence.certs.errors import Kind, RingfenceError

# SQLite's texts (sqlite.org/rescode.html), most telling first.
_WORDS = (
    ("database or disk is full", Kind.EXHAUSTED, "the disk is full", "Free some space; nothing recorded is lost"),
    ("readonly database", Kind.UNAVAILABLE, "the database may not be written", "Check its owner and the mount options"),
    ("database is locked", Kind.UNAVAILABLE, "another process holds the database", "One data directory, one server"),
    ("unable to open", Kind.UNAVAILABLE, "the database cannot be opened", "Check that the folder exists and its owner"),
    ("disk I/O error", Kind.UNAVAILABLE, "the disk does not answer", "Check the disk; nothing acknowledged is lost"),
    ("not a database", Kind.INVALID, "this is no database of ours", "Name another --data-dir, or restore a backup"),
    ("malformed", Kind.INVALID, "the database is damaged", "Restore a backup"),
)


def in_words(error: DBAPIError | Exception, path: Path) -> RingfenceError:
    """*error* as a failure that may be shown; the original text stays as its cause only."""
    text = str(getattr(error, "orig", None) or error)
    for fragment, kind, detail, hint in _WORDS:
        if fragment in text:
            return RingfenceError(kind, detail, where=str(path), hint=hint)
    return RingfenceError(Kind.UNAVAILABLE, f"the database refused: {text}", where=str(path))
