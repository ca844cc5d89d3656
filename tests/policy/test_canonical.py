"""Paths as Envoy makes them canonical before a rule sees them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.policy.canonical import canonical_path


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("/", "/"),
        ("/models/team-a/x", "/models/team-a/x"),
        ("/models/team-b/../team-a/x", "/models/team-a/x"),
        ("/models/team-b/%2e%2e/team-a/x", "/models/team-a/x"),
        ("/models/team-b/%2E./team-a/x", "/models/team-a/x"),
        ("/models/team-b/..%2fteam-a/x", "/models/team-a/x"),
        ("/models/team-b%2F..%2Fteam-a/x", "/models/team-a/x"),
        ("/models/team-b/..%5cteam-a/x", "/models/team-a/x"),
        ("/models/team-b\\..\\team-a\\x", "/models/team-a/x"),
        ("//admin", "/admin"),
        ("/%2fadmin", "/admin"),
        ("/x/../admin", "/admin"),
        ("/%61dmin", "/admin"),
        ("/\\admin", "/admin"),
        ("/Admin", "/Admin"),
        ("/%252fadmin", "/%252fadmin"),
        ("/a//../b", "/a/b"),
        ("/a/..", "/"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/../../a", "/a"),
        ("/a/...", "/a/..."),
        ("/a/", "/a/"),
        ("/a;x=y", "/a;x=y"),
        ("/a/..;x/b", "/b"),
        ("/a/.;/b", "/a/b"),
        ("/a/..;%2fb", "/b"),
        ("/a/%2e%2e;/b", "/a/..;/b"),
        ("/a\\..;x/b", "/a/..;x/b"),
        ("//", "//"),
        ("///.", "//"),
        ("//a//", "/a/"),
        ("/a|^", "/a%7C%5E"),
        ("/%%341", "/%2541"),
        ("/%%61", "/%a"),
        ("/a%21b", "/a%21b"),
        ("/a b", "/a%20b"),
        ("/é", "/%C3%A9"),
        ("/100%", "/100%"),
        ("/a?x=/../b%2f//", "/a?x=/../b%2f//"),
    ],
)
def test_a_path_is_seen_as_envoy_sees_it(written: str, seen: str):
    """Escapes, dots, slashes and backslashes end in one spelling; the query is left alone."""
    assert canonical_path(written) == seen


@pytest.mark.parametrize("path", ["", "*", "models", "http://x/y", "/a#b", "/a\0b", "/a%00b"])
def test_a_path_that_envoy_refuses_is_none(path: str):
    """What is answered with 400 before any rule has no canonical spelling."""
    assert canonical_path(path) is None


@given(st.text(alphabet="/.%25eEfFcC\\a?~-", max_size=40).map(lambda tail: "/" + tail))
def test_a_canonical_path_holds_nothing_left_to_resolve(path: str):
    """No dot segment, no empty segment within and no backslash survives in front of the query."""
    seen = canonical_path(path)
    assert seen is not None
    plain = seen.partition("?")[0]
    assert plain.startswith("/")
    assert "//" not in plain or plain == "//"
    assert "\\" not in plain
    assert not {".", ".."} & set(plain.split("/"))
