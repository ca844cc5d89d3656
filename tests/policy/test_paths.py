"""Path patterns: what they take and what they match."""

import re

import pytest

from ringfence.certs.errors import RingfenceError
from ringfence.policy.paths import PathPattern


@pytest.mark.parametrize(
    ("pattern", "path", "matched"),
    [
        ("/a", "/a", True),
        ("/a", "/a?x=/b", True),
        ("/a", "/a/", False),
        ("/a", "/ab", False),
        ("/a", "/a\n", False),
        ("/a/*", "/a/b", True),
        ("/a/*", "/a/", False),
        ("/a/*", "/a/b/c", False),
        ("/a/*/c", "/a/b/c", True),
        ("/a/**", "/a", True),
        ("/a/**", "/a/", True),
        ("/a/**", "/a/b/c?q", True),
        ("/a/**", "/ab", False),
        ("/**", "/anything/at/all", True),
        ("/a.b", "/aXb", False),
        ("/pkg.Svc/Method", "/pkg.Svc/Method", True),
        ("/pkg.Svc/Method", "/pkgXSvc/Method", False),
    ],
)
def test_a_pattern_matches_whole_paths(pattern: str, path: str, *, matched: bool):
    """A pattern takes a path whole, with any query, and every other character literally."""
    assert PathPattern(pattern).matches(path) is matched


@pytest.mark.parametrize(
    "text", ["", "a", "/a/", "//a", "/a/../b", "/a/**/b", "/a*", "/a?b", "/a%2f", "/a b", "/***", "*"]
)
def test_what_is_no_pattern_is_refused(text: str):
    """Anything that a canonical path can never be, or that looks like another pattern language, is an error."""
    with pytest.raises(RingfenceError, match=re.escape("is no path pattern")):
        PathPattern(text)
