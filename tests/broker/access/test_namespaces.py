"""Which namespace a name is in, for every way to write one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.broker.access.namespaces import namespace_named, namespace_of, overlap
from ringfence.certs.errors import RingfenceError
from ringfence.certs.path_template import PathTemplate
from ringfence.certs.selectors import Selector

SEGMENTS = st.sampled_from(["ns", "a", "b", "sa", "x", "{k8s.ns}", "{k8s.sa}", "ringfence"])
PATHS = st.lists(SEGMENTS, min_size=1, max_size=6).map(lambda parts: "/" + "/".join(parts))


@pytest.mark.parametrize(
    ("path", "namespace"),
    [
        ("/ns/a/sa/x", "a"),
        ("/ns/a/x", "a"),
        ("/ns/a/sa/{k8s.sa}", "a"),
        ("/ns/{k8s.ns}/sa/x", ""),
        ("/ns/a", ""),
        ("/ns", ""),
        ("/x/ns/a/sa/x", ""),
        ("ns/a/sa/x", ""),
        ("//ns/a/x", ""),
        ("", ""),
        ("/NS/a/sa/x", ""),
    ],
)
def test_a_path_is_in_the_namespace_that_it_names(path: str, namespace: str) -> None:
    """At its head, and with something below; an open one is in none."""
    assert namespace_of(path) == namespace


@given(PATHS, st.text("ab./{}-", min_size=1, max_size=4), st.text("ab./-", min_size=1, max_size=4))
def test_no_filling_leads_a_template_out_of_its_namespace(path: str, namespace: str, account: str) -> None:
    """Whatever attestors find: the path that is made is in the namespace that was judged."""
    judged = namespace_of(path)
    try:
        template = PathTemplate.parse(path)
        facts = [Selector("k8s", f"ns:{namespace}"), Selector("k8s", f"sa:{account}")]
        made = template.path(facts)
    except RingfenceError:
        return
    if judged:
        assert namespace_of(made) == judged
    assert overlap(path, made)


@pytest.mark.parametrize(
    ("text", "namespace"),
    [
        ("spiffe://example.org/ns/a/sa/x", "a"),
        ("spiffe://example.org/ns/a/sa/{k8s.sa}", "a"),
        ("spiffe://ns/a/sa/x", ""),
        ("spiffe://example.org", ""),
        ("a/trainer", "a"),
        ("a/b/c", ""),
        ("api.example.org", ""),
        ("/x", ""),
        ("10.0.0.1:80", ""),
    ],
)
def test_names_in_decisions_and_questions(text: str, namespace: str) -> None:
    """SPIFFE IDs and NAMESPACE/NAME; hosts and addresses are in none."""
    assert namespace_named(text) == namespace


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("/ns/a/sa/x", "/ns/a/sa/x", True),
        ("/ns/a/sa/{k8s.sa}", "/ns/a/sa/x", True),
        ("/ns/a/sa/{k8s.sa}", "/ns/a/{k8s.ns}/x", True),
        ("/ns/a/sa/{k8s.sa}", "/ns/a/sa/x/y", False),
        ("/ns/a/sa/x", "/ns/a/sa/y", False),
    ],
)
def test_whether_two_names_can_be_one(one: str, other: str, *, same: bool) -> None:
    """Segment by segment, both ways."""
    assert overlap(one, other) == overlap(other, one) == same
