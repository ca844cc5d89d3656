"""SPIFFE-ID.md by the numbers of lines.toml (1.1)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.jwt_svid import validate_jwt
from ringfence.certs.spiffe_id import MAX_ID_BYTES, SpiffeId, TrustDomain
from ringfence.certs.svid import spiffe_id_of, verify_peer
from ringfence.proto import workload
from tests.certs.material import new_authority, new_key

_HEAD = "spiffe://example.org/"
_LONGEST = _HEAD + "a" * (2048 - len(_HEAD))
_TD = TrustDomain("example.org")
_NOW = datetime.now(UTC)


def _refused(text: str) -> None:
    with pytest.raises(RingfenceError) as caught:
        SpiffeId.parse(text)
    assert caught.value.kind is Kind.INVALID


def _kept(text: str) -> None:
    assert str(SpiffeId.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "example.org/a", "https://example.org/a", "spiffe:/example.org/a", "spiffe:///a", "spiffe://", "spiffe:"],
)
def test_1_1_1_the_scheme_is_spiffe_and_a_trust_domain_follows(text: str) -> None:
    """Whatever else is no ID."""
    _kept("spiffe://example.org/a")
    _refused(text)


@pytest.mark.parametrize("tail", ["?q=1", "?", "#f", "#"])
def test_1_1_2_neither_query_nor_fragment(tail: str) -> None:
    """Not even empty ones, after the path or after the trust domain."""
    _refused(f"spiffe://example.org/a{tail}")
    _refused(f"spiffe://example.org{tail}")


@pytest.mark.parametrize(
    "authority", ["", "example.org:8080", "example.org:", "user@example.org", ":@example.org", "@a"]
)
def test_1_1_3_a_host_and_nothing_beside_it(authority: str) -> None:
    """No user, no port, no lone colon."""
    _refused(f"spiffe://{authority}/a")


@pytest.mark.parametrize(
    "host", ["Example.org", "ex%61mple.org", "exämple.org", "a b", "a,b", "a~b", "example.org\n", "a\x00"]
)
def test_1_1_4_the_host_has_the_permitted_characters(host: str) -> None:
    """Lower case, digits, dots, dashes and underscores, of which it may have any."""
    _kept("spiffe://a-b_c.0/x")
    _refused(f"spiffe://{host}/a")
    _refused(f"spiffe://{host}")


@pytest.mark.parametrize(
    "host", ["1.2.3.4", "999.1.1.1", "example..org", ".a", "a.", "-a", "a-", "a_b", "_", "..", "a" * 64]
)
def test_1_1_5_a_trust_domain_is_no_dns_name(host: str) -> None:
    """Neither rules of DNS labels nor those of addresses are applied; IPv6 has brackets, which no name has."""
    _kept(f"spiffe://{host}/a")
    assert SpiffeId.parse(f"spiffe://{host}/a").trust_domain == TrustDomain(host)
    _refused("spiffe://[::1]/a")


@pytest.mark.parametrize("path", ["/...", "/.a", "/a..b", "/A-Z_0.9", "/ns/team-a/sa/trainer", "/-"])
def test_1_1_6_segments_have_the_permitted_characters(path: str) -> None:
    """Dots are relative only when they are one or two and alone."""
    _kept(f"spiffe://example.org{path}")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "//a",
        "/a/",
        "/a//b",
        "/./a",
        "/a/..",
        "/..",
        "/.",
        "/%61",
        "/a%2Fb",
        "/a b",
        "/é",
        "/a\n",
        "/a\x00",
        "/a\\b",
        "/a:b",
    ],
)
def test_1_1_6_other_segments_are_refused(path: str) -> None:
    """Empty, relative, encoded, or of other characters."""
    _refused(f"spiffe://example.org{path}")


def test_1_1_7_long_ids_are_ids() -> None:
    """2048 bytes and a trust domain of 255, scheme and separators counted; not one more, and none is made."""
    assert len(_LONGEST) == MAX_ID_BYTES == 2048
    _kept(_LONGEST)
    _kept(f"spiffe://{'a' * 255}/b")
    _refused(_LONGEST + "a")
    _refused(f"spiffe://{'a' * 256}/b")
    with pytest.raises(RingfenceError):
        SpiffeId(_TD, _LONGEST.removeprefix("spiffe://example.org") + "a")


@pytest.mark.parametrize("text", ["spiffe://Example.org/a", "SPIFFE://example.org/a", "Spiffe://example.org/a"])
def test_1_1_8_one_identity_has_one_spelling(text: str) -> None:
    """Case counts in paths; in scheme and trust domain the lower case is taken, and others are not folded."""
    assert SpiffeId.parse("spiffe://example.org/A") != SpiffeId.parse("spiffe://example.org/a")
    _refused(text)


@given(st.text(max_size=40))
def test_1_1_8_any_text_is_one_id_in_one_spelling_or_none(text: str) -> None:
    """Parsing and printing are inverse wherever parsing succeeds."""
    for tried in (text, "spiffe://example.org" + text, "spiffe://" + text):
        try:
            parsed = SpiffeId.parse(tried)
        except RingfenceError:
            continue
        assert str(parsed) == tried


def test_1_1_9_the_authority_has_an_svid_of_its_own() -> None:
    """The root is a certificate with the trust domain's ID, which has no path."""
    authority, _ = new_authority(now=_NOW)
    assert spiffe_id_of(authority.current.x509.der) == SpiffeId(_TD, "")


def test_1_1_10_id_and_key_are_signed() -> None:
    """Another ID or another key of the same length under the old signature is refused, in each kind of document."""
    authority, _ = new_authority(now=_NOW)
    key, other = new_key().public_key(), new_key().public_key()
    trainer = SpiffeId(_TD, "/trainer")
    (leaf,) = authority.issue_x509(trainer, key, now=_NOW, ttl=timedelta(hours=1))
    token, _ = authority.issue_jwt(trainer, ["db"], now=_NOW, ttl=timedelta(hours=1))
    bundle = authority.bundle(1)
    points = [spki.public_numbers().x.to_bytes(32, "big") for spki in (key, other)]
    for old, new in ((b"/trainer", b"/trainar"), tuple(points)):
        assert leaf.count(old) == 1
        with pytest.raises(RingfenceError):
            verify_peer([leaf.replace(old, new)], bundle, now=_NOW)
    header, claims, signature = token.split(".")
    changed = claims[:-6] + ("AAAAAA" if claims[-6:] != "AAAAAA" else "BBBBBB")
    with pytest.raises(RingfenceError):
        validate_jwt(f"{header}.{changed}.{signature}", "db", {_TD: bundle}, now=_NOW)
    assert x509.load_der_x509_certificate(leaf).public_key() == key


def test_1_1_11_documents_are_x509_jwt_or_wit() -> None:
    """The Workload API gives out no other kind."""
    kinds = {
        method.name.removeprefix("Fetch") for method in workload.DESCRIPTOR.methods if method.name.endswith("SVID")
    }
    assert kinds - {"ValidateJWTSVID"} == {"X509SVID", "JWTSVID", "WITSVID"}


def test_1_1_12_a_trust_domain_has_no_slash_at_its_end() -> None:
    """Its ID is the bare name behind the scheme, and a name is no ID."""
    assert _TD.id == str(SpiffeId.parse("spiffe://example.org")) == "spiffe://example.org"
    _refused("spiffe://example.org/")
    with pytest.raises(RingfenceError):
        TrustDomain("spiffe://example.org")


@pytest.mark.parametrize(
    ("path", "reserved"),
    [("/ringfence", True), ("/ringfence/server", True), ("/ringfencer", False), ("/ns/ringfence", False), ("", False)],
)
def test_our_own_paths_are_reserved(path: str, reserved: bool) -> None:  # noqa: FBT001
    """No workload may be called as the control plane is."""
    assert SpiffeId(TrustDomain("example.org"), path).is_reserved is reserved
