"""Every risky setting is found where it is written, and what is not risky is not."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ringfence.policy.risks import risks
from tests.policy.intent import HUB, MESH, NOW, PULL, REGISTRY, TRAINER, joined, model_of
from tests.policy.plain import PROBE, taking

SAFE = (MESH, TRAINER, REGISTRY, HUB, PULL)
STAR = """
kind: External
metadata: {name: models, namespace: shared}
spec:
  host: "*.models.example"
  ports: [{name: https, port: 443, protocol: http}]
  dynamic: {labels: one, addresses: private}
"""


def found(*documents: str) -> list[tuple[str, int]]:
    """Codes and lines."""
    return [(one.code, one.line) for one in risks(model_of(*documents), NOW)]


def test_what_is_narrow_and_enforced_is_no_risk():
    """Exact callers, ports and hosts over TLS."""
    assert found(*SAFE) == []


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ("{workload: trainer}", "{workload: trainer, cidrs: [10.0.0.0/8]}", "RF1402"),
        ("  owner: ml", "  mode: shadow\n  owner: ml", "RF1403"),
        ("{workload: trainer}", "{all: true}", "RF1404"),
        ("{workload: trainer}", "{trustDomain: partner.example}", "RF1405"),
        ("port: 443, protocol: http", "port: 443, protocol: tcp, tls: passthrough", "RF1406"),
        ("port: 443, protocol: http", "port: 80, protocol: http, tls: false", "RF1407"),
    ],
)
def test_each_risk_is_found_at_its_document(before: str, after: str, code: str):
    """Once, as an info."""
    text = joined(*SAFE)
    (risk,) = risks(model_of(text.replace(before, after)), NOW)
    assert (risk.code, risk.level) == (code, "info")
    kind = "External" if code in {"RF1406", "RF1407"} else "Allow"
    assert text.splitlines()[risk.line - 1] == f"kind: {kind}"


def test_callers_without_an_identity_and_hosts_by_a_star_are_risks():
    """The port itself is a warning of every load."""
    assert [code for code, _ in found(MESH, TRAINER, taking(), PULL, PROBE)] == ["RF1401"]
    (star,) = risks(model_of(*SAFE, STAR), NOW)
    assert (star.code, star.message) == (
        "RF1408",
        "*.models.example is every host below that name, at private addresses too",
    )


def test_a_deny_of_everybody_and_an_expired_rule_are_none():
    """They let nobody in."""
    wide = PULL.replace("{workload: trainer}", "{all: true}")
    assert found(MESH, TRAINER, REGISTRY, wide.replace("kind: Allow", "kind: Deny")) == []
    ended = (NOW - timedelta(days=1)).isoformat()
    assert found(MESH, TRAINER, REGISTRY, wide.replace("  owner", f"  expires: {ended}\n  owner")) == []
