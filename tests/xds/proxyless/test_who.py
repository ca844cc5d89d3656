"""Callers as gRPC's RBAC can mean them."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from ringfence.policy.callers import Source
from ringfence.xds.proxyless.who import _PATH, _TOGETHER, among, only, other_than, other_than_below
from tests.differential.cases import CERTIFICATES, DOMAIN, IDENTITIES, identity

NAME = "spiffe://a.b/ns/x/sa/y"
PREFIX = "spiffe://a.b/ns/x/"
NAMES = ("spiffe://a.b/ns/x", NAME, f"{NAME}z", "spiffe://a.bc/ns/x/sa/y", "spiffe://c/ns/x")
NEAR = st.one_of(
    st.sampled_from(NAMES),
    st.text(alphabet="spife:/a.bcnxyz-\n=", max_size=12),
    st.builds(
        lambda name, cut, more, rest: name[:cut] + more + name[cut + len(more) : rest or None],
        st.sampled_from(NAMES),
        st.integers(0, len(NAME)),
        st.text(alphabet="spife:/a.bcnxyz \n", max_size=3),
        st.integers(0, len(NAME)),
    ),
    st.text(alphabet="az./- \n", max_size=6).map(lambda more: PREFIX + more),
)


@given(st.sets(st.sampled_from(NAMES), min_size=1), NEAR)
def test_other_than_some_names_is_every_uri_but_those(names: set[str], text: str):
    """The complement is exact: no other URI escapes it, the names are not in it, and what is no URI is not."""
    regex = other_than(tuple(sorted(names)))
    assert (re.fullmatch(regex, text) is not None) == (":" in text and text not in names)


@given(NEAR)
def test_other_than_a_namespace_is_every_uri_that_is_none_of_its_names(text: str):
    """The same for what begins with a prefix and goes on as a SPIFFE ID does."""
    meant = re.fullmatch(re.escape(PREFIX) + _PATH, text) is not None
    assert (re.fullmatch(other_than_below(PREFIX), text) is not None) == (":" in text and not meant)


def test_the_longest_name_is_one_that_re2_takes():
    """RE2 nests to 1000 levels: two names of 63 characters in a trust domain of 255 are far from it."""
    longest = f"spiffe://{'d' * 255}/ns/{'n' * 63}/sa/{'w' * 63}"
    assert other_than((longest,)).count("(?:") < 900


def test_an_allowing_principal_has_a_demand_and_a_refusal_and_a_denying_one_only_a_demand():
    """A second name beside one that is allowed is refused; beside one that is denied it does not help."""
    source = Source(IDENTITIES[0], None)
    (allow,), deny = only([source], DOMAIN), among(source, DOMAIN)
    name, other = allow["and_ids"]["ids"]
    assert name == deny == {"authenticated": {"principal_name": {"exact": CERTIFICATES["team-a/sa/trainer"][0]}}}
    assert set(other) == {"not_id"}


def test_many_names_are_few_expressions_and_none_of_them_is_too_large():
    """Each is compiled at every change, and all of a route's policy is refused for one that cannot be."""
    many = [Source(identity("team-a", f"{number * 7919 % 99991:05d}-worker"), None) for number in range(1000)]
    principals = only(many, DOMAIN)
    assert len(principals) == -(-len(many) // _TOGETHER)
    regexes = [
        p["and_ids"]["ids"][1]["not_id"]["authenticated"]["principal_name"]["safe_regex"]["regex"] for p in principals
    ]
    assert max(map(len, regexes)) < 20_000
