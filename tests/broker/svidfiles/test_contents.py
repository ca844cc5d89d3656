"""What the files hold."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.broker.agent.fetching import Delivery, FetchedSvid
from ringfence.broker.svidfiles.contents import Content, changed, chosen_token, contents, token_life
from ringfence.broker.svidfiles.wanted import Access, Wanted
from ringfence.certs.bundle_map import parse_map
from ringfence.certs.errors import Kind, RingfenceError
from tests.certs.material import OTHER_TD, TD, TRAINER, new_authority

SVID = FetchedSvid("spiffe://a/w", "CHAIN\n", "KEY\n", "BUNDLE\n", "2026-11-24T12:00:00Z", "")
OTHER = FetchedSvid("spiffe://a/x", "CHAIN2\n", "KEY2\n", "BUNDLE\n", "2026-11-24T12:00:00Z", "other")
GIVEN = Delivery((SVID, OTHER), {"b.org": "B\n", "c.org": "C\n"})


def _files(wanted: Wanted, **tokens: str) -> dict[str, Content]:
    return contents(GIVEN, tokens, wanted, Access())


def test_every_kind_of_file_has_its_content_and_its_mode() -> None:
    """Whatever holds a key or a token is 0600."""
    wanted = Wanted(combined="all.pem", jwt={"t": "db"}, federated={"b.pem": "b.org"})
    assert _files(wanted, t="TOKEN") == {
        "svid.pem": Content(b"CHAIN\n", 0o644),
        "key.pem": Content(b"KEY\n", 0o600),
        "bundle.pem": Content(b"BUNDLE\n", 0o644),
        "all.pem": Content(b"CHAIN\nKEY\n", 0o600),
        "t": Content(b"TOKEN", 0o600),
        "b.pem": Content(b"B\n", 0o644),
    }


def test_federated_bundles_stay_apart_unless_asked_for() -> None:
    """Joined, every one of them may vouch for any name."""
    assert _files(Wanted())["bundle.pem"].data == b"BUNDLE\n"
    assert _files(Wanted(join_federated=True))["bundle.pem"].data == b"BUNDLE\nB\nC\n"


def test_what_is_not_there_is_no_empty_file() -> None:
    """A program that reads an empty bundle may trust the system's."""
    assert _files(Wanted(jwt={"t": "db"}, federated={"z.pem": "z.org"})).keys() == {"svid.pem", "key.pem", "bundle.pem"}


def test_a_bundle_map_holds_the_roots_of_every_trust_domain() -> None:
    """Under its name; one that has none, as after a revocation of all, is not there, and so not trusted."""
    own, other = (new_authority(name)[0].bundle(1) for name in (TD, OTHER_TD))
    svid = replace(SVID, spiffe_id=str(TRAINER), bundle=own.x509_pem().decode())
    given = Delivery((svid,), {"other.org": other.x509_pem().decode(), "c.org": ""})
    made = contents(given, {}, Wanted(bundle_map="map.json"), Access())["map.json"]
    assert made.mode == 0o644
    assert {name: bundle.x509_authorities for name, bundle in parse_map(made.data).items()} == {
        TD: own.x509_authorities,
        OTHER_TD: other.x509_authorities,
    }


def test_another_identity_is_never_written() -> None:
    """The error names what was given."""
    assert _files(Wanted(hint="other"))["key.pem"].data == b"KEY2\n"
    with pytest.raises(RingfenceError, match="spiffe://a/w, spiffe://a/x", check=lambda e: e.kind is Kind.DENIED):
        _files(Wanted(spiffe_id="spiffe://a/z"))
    answers = [{"spiffe_id": "spiffe://a/w", "svid": "T", "hint": ""}]
    assert chosen_token(answers, Wanted()) == "T"
    with pytest.raises(RingfenceError, check=lambda e: e.kind is Kind.DENIED):
        chosen_token(answers, Wanted(spiffe_id="spiffe://a/z"))


def test_changes_are_named() -> None:
    """What differs, came or went."""
    one, two = Content(b"1", 0o600), Content(b"2", 0o600)
    assert changed({"a": one, "b": one, "c": one}, {"a": one, "b": two, "d": one}) == ["b", "c", "d"]


def test_nothing_secret_is_shown() -> None:
    """Neither of a file's content nor of what it is made from."""
    assert "KEY" not in repr((GIVEN, _files(Wanted())))


def test_a_token_says_how_long_it_lives() -> None:
    """From its iat to its exp."""
    assert token_life("e30.eyJpYXQiOjAsImV4cCI6NjB9.x") == (
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1970, 1, 1, 0, 1, tzinfo=UTC),
    )


@given(st.text() | st.text("eyJpYXQiOjAs.", max_size=40))
def test_anything_else_is_refused_in_words(token: str) -> None:
    """No other exception, whatever the agent sent."""
    with pytest.raises(RingfenceError, check=lambda e: e.kind is Kind.INVALID):
        token_life(token)
