"""Which database: by file or by URL, and never with its password."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.broker.store.location import Location
from ringfence.certs.errors import Kind, RingfenceError

SECRET = "hunter2"  # noqa: S105  # what must not show


@pytest.mark.parametrize("scheme", ["postgresql+psycopg", "postgresql", "postgres"])
def test_a_password_never_shows(scheme: str) -> None:
    """Neither as text, nor for a debugger, nor in a driver's sentence."""
    found = Location.parse(f"{scheme}://me:{SECRET}@db.example:5433/ringfence?sslmode=verify-full")
    assert str(found) == "postgresql://me@db.example:5433/ringfence"
    assert found.url.password == SECRET
    assert SECRET not in repr(found)
    assert SECRET not in found.without_password(f"invalid: {SECRET}")
    assert found.url.drivername == "postgresql+psycopg"


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        f"mysql://me:{SECRET}@h/d",
        f"postgresql://me:{SECRET}@h:port/d",
        f"postgresql://h/d?password={SECRET}",
        f"postgresql://h/d?passfile={SECRET}",
        f"postgresql+asyncpg://me:{SECRET}@h/d",
        f"sqlite:///{SECRET}",
        "",
    ],
)
def test_what_is_refused_is_not_repeated(text: str) -> None:
    """A wrong URL may hold a password at any place."""
    with pytest.raises(RingfenceError) as caught:
        Location.parse(text)
    assert caught.value.kind is Kind.INVALID
    assert SECRET not in f"{caught.value!s} {caught.value.__cause__!r} {caught.value!r}"


def test_a_socket_folder_is_named_as_the_host() -> None:
    """As libpq does it."""
    assert str(Location.parse("postgresql://me@/d?host=/run/pg")) == "postgresql://me@/run/pg/d"


def test_a_file_is_named_by_its_path(tmp_path: Path) -> None:
    """It has no password."""
    assert str(Location.of_file(tmp_path / "s")) == f"{tmp_path}/s"
