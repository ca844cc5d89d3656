"""SPIFFE-ID.md (Stable), rule by rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

_LONGEST = "spiffe://example.org/" + "a" * (2048 - len("spiffe://example.org/"))


@pytest.mark.parametrize(
    "text",
    [
        "spiffe://example.org",
        "spiffe://example.org/a",
        "spiffe://example.org/ns/team-a/sa/trainer",
        "spiffe://1.2.3.4/service",  # 2.1: a dotted quad is a name like any other
        "spiffe://example..org/a",  # 2.1: rules of DNS labels are not applied
        "spiffe://.a/b",
        "spiffe://-a/b",
        "spiffe://a_b/c",
        "spiffe://a/...",  # 2.2: only . and .. are relative
        "spiffe://a/.a",
        "spiffe://a/a..b",
        "spiffe://a/A-Z_0.9",
        f"spiffe://{'a' * 255}/b",
        _LONGEST,
    ],
)
def test_an_id_of_the_standard_is_accepted_and_keeps_its_spelling(text: str) -> None:
    """Sections 2, 2.1 and 2.2, at their limits too (2.3)."""
    assert str(SpiffeId.parse(text)) == text


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ("2", ""),
        ("2", "example.org/a"),
        ("2", "https://example.org/a"),
        ("2", "spiffe:/example.org/a"),
        ("2", "spiffe:///a"),
        ("2", "spiffe://"),
        ("2", "spiffe://example.org/a?q=1"),
        ("2", "spiffe://example.org/a#f"),
        ("2", "spiffe://example.org?q"),
        ("2.1", "spiffe://example.org:8080/a"),
        ("2.1", "spiffe://example.org:/a"),
        ("2.1", "spiffe://user@example.org/a"),
        ("2.1", "spiffe://[::1]/a"),
        ("2.1", "spiffe://ex%61mple.org/a"),
        ("2.1", "spiffe://exämple.org/a"),
        ("2.1", f"spiffe://{'a' * 256}/b"),
        ("2.2", "spiffe://example.org/"),
        ("2.2", "spiffe://example.org//a"),
        ("2.2", "spiffe://example.org/a/"),
        ("2.2", "spiffe://example.org/a//b"),
        ("2.2", "spiffe://example.org/./a"),
        ("2.2", "spiffe://example.org/a/.."),
        ("2.2", "spiffe://example.org/%61"),
        ("2.2", "spiffe://example.org/a b"),
        ("2.2", "spiffe://example.org/é"),
        ("2.2", "spiffe://example.org/a\n"),
        ("2.2", "spiffe://example.org\n"),
        ("2.2", "spiffe://example.org/a\x00"),
        ("2.3", _LONGEST + "a"),
        ("2.4", "spiffe://Example.org/a"),
        ("2.4", "SPIFFE://example.org/a"),
    ],
)
def test_what_is_no_id_is_refused(section: str, text: str) -> None:
    """Upper case is refused rather than folded (2.4 leaves it open): one identity has one spelling."""
    with pytest.raises(RingfenceError) as caught:
        SpiffeId.parse(text)
    assert caught.value.kind is Kind.INVALID, section


@given(st.text(max_size=40))
def test_any_text_is_one_id_in_one_spelling_or_none(text: str) -> None:
    """Parsing and printing are inverse wherever parsing succeeds."""
    for tried in (text, "spiffe://example.org" + text, "spiffe://" + text):
        try:
            parsed = SpiffeId.parse(tried)
        except RingfenceError:
            continue
        assert str(parsed) == tried


@pytest.mark.parametrize(
    ("path", "reserved"),
    [("/ringfence", True), ("/ringfence/server", True), ("/ringfencer", False), ("/ns/ringfence", False), ("", False)],
)
def test_our_own_paths_are_reserved(path: str, reserved: bool) -> None:  # noqa: FBT001
    """No workload may be called as the control plane is."""
    assert SpiffeId(TrustDomain("example.org"), path).is_reserved is reserved


def test_a_trust_domain_is_a_bare_name() -> None:
    """Its ID has no path and no trailing slash (2.1)."""
    assert TrustDomain("example.org").id == "spiffe://example.org"
    with pytest.raises(RingfenceError):
        TrustDomain("spiffe://example.org")
