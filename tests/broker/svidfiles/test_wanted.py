"""What may be asked for: names, modes, pairs."""

from __future__ import annotations

import pytest

from ringfence.broker.svidfiles.wanted import Access, Wanted, pairs
from ringfence.certs.errors import Kind, RingfenceError


def _invalid(error: RingfenceError) -> bool:
    return error.kind is Kind.INVALID


@pytest.mark.parametrize("name", ["../key.pem", "/etc/key.pem", "a/b", "..data", "-rf", "a b", "k\n", "..", "é"])
def test_a_name_that_is_no_plain_file_name_is_refused(name: str) -> None:
    """Nothing is written outside of the folder, or over its own names."""
    with pytest.raises(RingfenceError, check=_invalid):
        Wanted(key=name)


@pytest.mark.parametrize("wanted", [{"key": "a", "cert": "a"}, {"jwt": {"svid.pem": "db"}}])
def test_one_name_for_two_things_is_refused(wanted: dict[str, str]) -> None:
    """A key would end up in a file with a certificate's mode."""
    with pytest.raises(RingfenceError, check=_invalid):
        Wanted(**wanted)


def test_nothing_wanted_is_refused() -> None:
    """All names empty is a mistake, and not a way to remove the files."""
    with pytest.raises(RingfenceError, check=_invalid):
        Wanted(cert="", key="", bundle="")


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o604, 0o700, 0o4600])
def test_a_key_is_never_open_to_others(mode: int) -> None:
    """Its group may read it at most, as PostgreSQL allows."""
    with pytest.raises(RingfenceError, check=_invalid):
        Access(key_mode=mode)


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o755])
def test_a_certificate_is_never_writable_by_others(mode: int) -> None:
    """Whoever writes the bundle chooses whom to trust."""
    with pytest.raises(RingfenceError, check=_invalid):
        Access(cert_mode=mode)


def test_an_audience_may_hold_what_a_file_name_may_not() -> None:
    """The last = divides."""
    assert pairs(("https://h/?a=b=db.token", "x=y"), flag="--jwt") == {"db.token": "https://h/?a=b", "y": "x"}


@pytest.mark.parametrize("texts", [("db",), ("=f",), ("db=",), ("a=f", "b=f")])
def test_a_pair_without_two_halves_is_refused(texts: tuple[str, ...]) -> None:
    """And so are two audiences for one file."""
    with pytest.raises(RingfenceError, check=_invalid):
        pairs(texts, flag="--jwt")


def test_identity_is_chosen_by_name_and_hint() -> None:
    """Both have to fit where both are given."""
    wanted = Wanted(spiffe_id="spiffe://a/b", hint="x")
    assert wanted.is_chosen("spiffe://a/b", "x")
    assert not wanted.is_chosen("spiffe://a/b", "")
    assert not wanted.is_chosen("spiffe://a/c", "x")
    assert Wanted().is_chosen("spiffe://a/c", "y")
