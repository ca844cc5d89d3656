"""Callers as gRPC's RBAC can mean them."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from ringfence.policy.model import Source
from ringfence.xds.proxyless.who import _MORE, _NO_PATH, _PATH, among, any_other, only
from tests.differential.cases import CERTIFICATES, DOMAIN, IDENTITIES

NAME = "spiffe://a.b/ns/x/sa/y"
PREFIX = "spiffe://a.b/ns/x/"
NEAR = st.one_of(
    st.text(alphabet="spife:/a.bnxy-\n=", max_size=12),
    st.builds(
        lambda cut, more, rest: NAME[:cut] + more + NAME[cut + len(more) : rest or None],
        st.integers(0, len(NAME)),
        st.text(alphabet="spife:/a.bnxy \n", max_size=3),
        st.integers(0, len(NAME)),
    ),
    st.text(alphabet="az./- \n", max_size=6).map(lambda more: PREFIX + more),
)


@given(NEAR)
def test_any_other_is_every_uri_but_that_one(text: str):
    """The complement is exact: no other URI escapes it, the name itself is not in it, and what is no URI is not."""
    assert (re.fullmatch(any_other(NAME, _MORE), text) is not None) == (":" in text and text != NAME)


@given(NEAR)
def test_any_other_than_a_namespace_is_every_uri_that_is_none_of_its_names(text: str):
    """The same for what begins with a prefix and goes on as a SPIFFE ID does."""
    meant = re.fullmatch(re.escape(PREFIX) + _PATH, text) is not None
    assert (re.fullmatch(any_other(PREFIX, _NO_PATH), text) is not None) == (":" in text and not meant)


def test_the_longest_name_is_one_that_re2_takes():
    """RE2 nests to 1000 levels: two names of 63 characters in a trust domain of 255 are far from it."""
    longest = f"spiffe://{'d' * 255}/ns/{'n' * 63}/sa/{'w' * 63}"
    assert any_other(longest, _MORE).count("(?:") < 900


def test_an_allowing_principal_has_a_demand_and_a_refusal_and_a_denying_one_only_a_demand():
    """A second name beside one that is allowed is refused; beside one that is denied it does not help."""
    source = Source(IDENTITIES[0], None)
    allow, deny = only(source, DOMAIN), among(source, DOMAIN)
    name, other = allow["and_ids"]["ids"]
    assert name == deny == {"authenticated": {"principal_name": {"exact": CERTIFICATES["team-a/sa/trainer"][0]}}}
    assert set(other) == {"not_id"}
