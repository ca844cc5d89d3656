"""Health checks that the rules refuse are noted: Envoy would take every replica for dead."""

import pytest

from tests.policy.intent import MESH, NOTEBOOK, PULL, REGISTRY, TRAINER, codes, load

GRPC = REGISTRY.replace("name: http, port: 8080, protocol: http", "name: http, port: 8080, protocol: grpc")
ALL = PULL.replace('  http: [{methods: [GET, HEAD], paths: ["/models/team-a/**"]}]\n', "")


def traffic(check: str, port: str = "http") -> str:
    """A Traffic document with that check."""
    return f"""
    kind: Traffic
    metadata: {{name: registry, namespace: shared}}
    spec: {{to: {{workload: registry, port: {port}}}, healthCheck: {{{check}}}}}
    """


@pytest.mark.parametrize(
    ("registry", "rule", "check", "noted"),
    [
        (REGISTRY, PULL, "http: /healthz", True),
        (REGISTRY, PULL, "http: /models/team-a/healthz", False),
        (REGISTRY, PULL.replace("GET, HEAD", "PUT"), "http: /models/team-a/healthz", True),
        (REGISTRY, ALL, "http: /healthz", False),
        (REGISTRY, ALL + "  mode: shadow\n", "http: /healthz", False),  # nobody calls
        (REGISTRY, PULL, "tcp: true", False),
        (GRPC, PULL, "grpc: models", True),
        (GRPC, ALL, "grpc: models", False),
    ],
)
def test_a_check_that_no_allow_covers_is_noted(*, registry: str, rule: str, check: str, noted: bool):
    """By path and method as the port's proxy will see them; a check that only connects needs no rule."""
    assert ("RF1308" in codes(load(MESH, TRAINER, registry, rule, traffic(check)))) == noted


def test_who_and_what_is_named():
    """Each caller is judged by its own rules, a Deny too."""
    deny = ALL.replace("kind: Allow", "kind: Deny").replace("name: pull", "name: no-checks")
    deny += '  http: [{paths: ["/healthz"]}]\n'
    both = ALL.replace("[{workload: trainer}]", "[{workload: trainer}, {workload: notebook, namespace: team-b}]")
    found = load(MESH, TRAINER, NOTEBOOK, REGISTRY, both, deny, traffic("http: /healthz")).findings
    (one,) = [finding for finding in found if finding.code == "RF1308"]
    assert one.level == "warning"
    assert one.message == "no Allow covers GET /healthz at shared/registry port 'http' for team-a/trainer"
