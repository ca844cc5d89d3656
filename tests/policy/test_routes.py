"""Where routes lead: which one a request takes, and who would be refused at its end."""

import pytest

from ringfence.policy.model import Destination
from ringfence.policy.routes import route_of, targets
from tests.policy.intent import MESH, NOTEBOOK, PULL, REGISTRY, TRAINER, codes, load, model_of

CANARY = """
kind: Workload
metadata: {name: canary, namespace: shared}
spec: {match: [{unix.uid: 1009}], serves: [{name: http, port: 8081, protocol: http}]}
"""
TRAFFIC = """
kind: Traffic
metadata: {name: registry, namespace: shared}
spec:
  to: {workload: registry, port: http}
  routes:
    - match: [{headers: [{name: x-canary, exact: "1"}, {name: x-team, prefix: a}]}]
      split: [{workload: canary, weight: 1}]
    - match: [{methods: [GET, HEAD], paths: ["/models/**"]}, {headers: [{name: x-any, present: true}]}]
      split: [{workload: registry, port: http, weight: 2}, {workload: canary, weight: 1}]
"""
TO_CANARY = PULL.replace("name: pull", "name: pull-canary").replace("workload: registry", "workload: canary")
HTTP, CANARY_HTTP = Destination("shared/registry", "http"), Destination("shared/canary", "http")


@pytest.mark.parametrize(
    ("method", "path", "headers", "taken"),
    [
        ("GET", "/models/a", (), 1),
        ("PUT", "/models/a", (), None),
        ("GET", "/other", (), None),
        ("GET", "/other", (("x-any", ""),), 1),
        ("GET", "/models/a", (("x-canary", "1"), ("x-team", "a-1")), 0),
        ("GET", "/models/a", (("x-canary", "1"),), 1),
        ("PUT", "/", (("x-canary", "1"), ("x-canary", "1"), ("x-team", "a")), None),
    ],
)
def test_the_first_route_that_matches_is_taken(
    method: str, path: str, headers: tuple[tuple[str, str], ...], taken: int | None
):
    """All of a match, any of several; a repeated header is one value, joined by commas."""
    traffic = model_of(MESH, TRAINER, REGISTRY, CANARY, PULL, TO_CANARY, TRAFFIC).traffic[HTTP]
    expected = None if taken is None else traffic.routes[taken]
    assert route_of(traffic, method, path, headers) == expected


def test_shares_are_percentages_of_their_sum():
    """What no route takes goes to the port whole."""
    traffic = model_of(MESH, TRAINER, REGISTRY, CANARY, PULL, TO_CANARY, TRAFFIC).traffic[HTTP]
    assert targets(traffic, traffic.routes[1]) == ((HTTP, 67), (CANARY_HTTP, 33))
    assert targets(traffic, None) == ((HTTP, 100),)


def test_a_caller_that_is_not_let_in_where_a_route_leads_is_noted():
    """By name, at the Traffic: the split would answer it 403."""
    found = next(one for one in load(MESH, TRAINER, REGISTRY, CANARY, PULL, TRAFFIC).findings if one.code == "RF1307")
    assert found.level == "warning"
    assert "shared/canary port 'http'" in found.message
    assert "spiffe://example.test/ns/team-a/sa/trainer" in found.message


@pytest.mark.parametrize(
    ("here", "there", "noted"),
    [
        ("workload: trainer", "workload: trainer", False),
        ("workload: trainer", "namespace: team-a", False),
        ("workload: trainer", "all: true", False),
        ("namespace: team-a", "all: true", False),
        ("namespace: team-a", "workload: trainer", True),
        ("all: true", "namespace: team-a", True),
        ("workload: trainer", "workload: notebook, namespace: team-b", True),
        ("trustDomain: p.example", "all: true", True),
        ("trustDomain: p.example", "trustDomain: p.example", False),
        ("id: spiffe://p.example/ns/team-a/sa/x", "trustDomain: p.example", False),
        ("id: spiffe://p.example/ns/team-a/sa/x", "namespace: team-a", True),
        ("workload: trainer", "workload: trainer, cidrs: [10.0.0.0/8]", True),
        ("workload: trainer, cidrs: [10.0.0.0/8]", "workload: trainer, cidrs: [10.0.0.0/8]", False),
        ("workload: trainer, cidrs: [10.0.0.0/8]", "workload: trainer", False),
        ("namespace: team-a, cidrs: [10.0.0.0/8]", "namespace: team-a", False),
    ],
)
def test_everybody_who_may_call_must_be_let_in_there(here: str, there: str, *, noted: bool):
    """A wider source covers a narrower one, never the other way round, and never across trust domains."""
    rules = (PULL.replace("workload: trainer", here), TO_CANARY.replace("workload: trainer", there))
    loaded = load(MESH, TRAINER, NOTEBOOK, REGISTRY, CANARY, *rules, TRAFFIC)
    assert ("RF1307" in codes(loaded)) == noted


def test_a_rule_in_shadow_mode_lets_nobody_in():
    """It only records."""
    shadow = TO_CANARY.replace("owner: ml", "owner: ml\n  mode: shadow")
    assert "RF1307" in codes(load(MESH, TRAINER, REGISTRY, CANARY, PULL, shadow, TRAFFIC))
