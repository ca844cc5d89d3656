"""Which database: a SQLite file of this machine, or a PostgreSQL by URL; its password never shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from ringfence.certs.errors import Kind, RingfenceError

_POSTGRES, _DRIVER = {"postgresql", "postgres", "postgresql+psycopg"}, "postgresql+psycopg"
# What libpq takes from the URL's query (PostgreSQL manual 32.1.2). Others could name files with secrets, or a service
# that leads somewhere else; a password belongs in front of the host, where it is known for one.
_SETTINGS = {"host", "port", "sslmode", "sslrootcert", "sslcert", "sslkey", "connect_timeout", "target_session_attrs"}
_FORM = "postgresql+psycopg://USER@HOST/NAME, for example, with the password in PGPASSWORD or ~/.pgpass"


@dataclass(frozen=True, slots=True)
class Location:
    """Where a database is; `str` and `repr` never show its password."""

    url: URL = field(repr=False)
    file: Path | None = None  # of SQLite

    @classmethod
    def of_file(cls, path: Path) -> Location:
        """The SQLite database at *path*."""
        return cls(URL.create("sqlite", database=str(path)), path)

    @classmethod
    def parse(cls, text: str) -> Location:
        """From `postgresql+psycopg://...`; raises INVALID, and repeats nothing of *text*."""
        # 1. A URL at all.
        try:
            url = make_url(text)
        except (ArgumentError, ValueError):
            raise RingfenceError(Kind.INVALID, "--database is no database URL", hint=_FORM) from None
        # 2. Of a database that is tested.
        if url.drivername not in _POSTGRES:
            raise RingfenceError(Kind.INVALID, "--database is no PostgreSQL", hint=_FORM)
        # 3. With settings that are known to hold no secret.
        if unknown := sorted(set(url.query) - _SETTINGS):
            raise RingfenceError(
                Kind.INVALID,
                f"--database has the setting {unknown[0]!r}, which is not for here",
                hint=f"Known: {', '.join(sorted(_SETTINGS))}. A password goes into PGPASSWORD or ~/.pgpass",
            )
        return cls(url.set(drivername=_DRIVER))

    def __str__(self) -> str:
        if self.file is not None:
            return str(self.file)
        host = self.url.host or str(self.url.query.get("host", ""))
        port = f":{self.url.port}" if self.url.port else ""
        user = f"{self.url.username}@" if self.url.username else ""
        return f"postgresql://{user}{host}{port}/{self.url.database or ''}"

    def without_password(self, text: str) -> str:
        """*text* with the password, should a driver ever repeat it, taken out."""
        password = self.url.password
        return text.replace(str(password), "***") if password else text
