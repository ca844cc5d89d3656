"""Templates of rule entries: what fills them, and what is an instance."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.path_template import PathTemplate, is_segment
from ringfence.certs.selectors import Selector
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

PODS = PathTemplate.parse("/ns/{k8s.ns}/sa/{k8s.sa}")
GOOD = ("k8s:ns:ml", "k8s:sa:trainer", "unix:uid:0")


def selectors(*texts: str) -> list[Selector]:
    """As attestors find them."""
    return [Selector(*text.split(":", 1)) for text in texts]


def test_selectors_fill_the_placeholders() -> None:
    """Also those of a label, whose name is part of the placeholder."""
    assert PODS.path(selectors(*GOOD)) == "/ns/ml/sa/trainer"
    label = PathTemplate.parse("/app/{k8s.pod-label.app}")
    assert label.path(selectors("k8s:pod-label:app:web", "k8s:pod-label:tier:db")) == "/app/web"
    assert label.placeholders[0].wanted == "k8s:pod-label"
    assert PathTemplate.parse("/job/{slurm.job_id}").path(selectors("slurm:job_id:77")) == "/job/77"


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (("k8s:ns:ml",), "no value"),
        (("k8s:ns:ml", "k8s:ns:other", "k8s:sa:a"), "two values"),
        (("k8s:ns:ml/../x", "k8s:sa:a"), "no segment"),
        (("k8s:ns:..", "k8s:sa:a"), "no segment"),
        (("k8s:ns:.", "k8s:sa:a"), "no segment"),
        (("k8s:ns:", "k8s:sa:a"), "no segment"),
        (("k8s:ns:a b", "k8s:sa:a"), "no segment"),
    ],
)
def test_nothing_is_guessed(texts: tuple[str, ...], says: str) -> None:
    """No value, two values, or one that would be more or less than a segment: no path."""
    with pytest.raises(RingfenceError, match=says) as caught:
        PODS.path(selectors(*texts))
    assert caught.value.kind is Kind.INVALID


def test_an_instance_names_the_selectors_that_make_it() -> None:
    """What the server re-checks before it signs."""
    assert PODS.selectors("/ns/ml/sa/trainer") == frozenset(selectors("k8s:ns:ml", "k8s:sa:trainer"))


@pytest.mark.parametrize(
    "path",
    ["", "/", "/ns/ml/sa", "/ns/ml/sa/", "/ns/ml/sa/a/b", "/ns/ml/xx/a", "/ns/../sa/a", "/ns//sa/a", "ns/ml/sa/a"],
)
def test_what_is_no_instance_is_none(path: str) -> None:
    """Too short, too long, other text, or segments that are none."""
    assert PODS.selectors(path) is None


def test_a_value_that_no_attestor_finds_makes_no_instance() -> None:
    """007 is no user id; and one placeholder twice has one value."""
    assert PathTemplate.parse("/u/{unix.uid}").selectors("/u/007") is None
    twice = PathTemplate.parse("/a/{k8s.ns}/{k8s.ns}")
    assert twice.selectors("/a/x/y") is None
    assert twice.selectors("/a/x/x") == frozenset(selectors("k8s:ns:x"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "ns/{k8s.ns}",
        "/{k8s.ns}/a",
        "/ringfence/{k8s.ns}",
        "/ns/team",
        "/ns/{k8s.ns}-x",
        "/ns/{k8s.shoe}",
        "/ns/{rank}",
        "/ns/{x509pop.ca}",
        "/ns/{nobody.x}",
        "/ns/../{k8s.ns}",
        "/ns/{k8s.ns}/",
        "/ns/{k8s.ns:word}",
        "/ns/{k8s.ns:number:number}",
        "/ns/{k8s.ns/x}",
        "/ns/{k8s.ns}/}",
        "/ns/{/}",
    ],
)
def test_templates_that_could_do_harm_or_never_match_are_refused(text: str) -> None:
    """No mixed segment, nothing that could become /ringfence/, only selectors that exist."""
    with pytest.raises(RingfenceError) as caught:
        PathTemplate.parse(text)
    assert caught.value.kind is Kind.INVALID


INDEX = "k8s.pod-label.batch.kubernetes.io/job-completion-index"


def test_the_name_of_a_label_may_hold_a_slash() -> None:
    """It is no end of a segment, in braces."""
    template = PathTemplate.parse(f"/a/{{{INDEX}}}/b")
    found = selectors("k8s:pod-label:batch.kubernetes.io/job-completion-index:3")

    assert template.path(found) == "/a/3/b"
    assert template.selectors("/a/3/b") == frozenset(found)


@pytest.mark.parametrize("value", ["01", "1a", "-1", "1000000", "x", "1.0", "٣", "1\n"])
def test_a_number_is_one_as_ranks_are_written(value: str) -> None:
    """One spelling each: anything else is no path, neither the agent's nor one that the server signs."""
    template = PathTemplate.parse(f"/rank/{{{INDEX}:number}}")
    with pytest.raises(RingfenceError):
        template.path(selectors(f"k8s:pod-label:batch.kubernetes.io/job-completion-index:{value}"))
    assert template.selectors(f"/rank/{value}") is None
    assert template.selectors("/rank/0") is not None
    assert template.placeholders[0].wanted == "k8s:pod-label"


def test_a_rank_that_a_launcher_says_is_a_number() -> None:
    """By the selector itself."""
    template = PathTemplate.parse("/job/llm/rank/{launch.rank}")
    assert template.selectors("/job/llm/rank/12") == frozenset(selectors("launch:rank:12"))
    assert template.selectors("/job/llm/rank/012") is None
    assert template.selectors("/job/llm/rank/x") is None


@given(st.text(max_size=12), st.text(max_size=12))
def test_every_path_made_is_an_instance_and_an_id(ns: str, sa: str) -> None:
    """Whatever a cluster calls its things: a path comes back as its own instance, or there is none."""
    have = [Selector("k8s", f"ns:{ns}"), Selector("k8s", f"sa:{sa}")]
    try:
        path = PODS.path(have)
    except RingfenceError:
        assert not (is_segment(ns) and is_segment(sa))
        return
    assert PODS.selectors(path) == frozenset(have)
    assert SpiffeId(TrustDomain("example.org"), path).path == path
