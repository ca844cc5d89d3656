"""The fraud scenario's intent: valid as it stands, filled in for the machine, and as narrow as it says."""

from __future__ import annotations

from ringfence.broker.demo.fraud.stage import INTENT, TRUST_DOMAIN
from ringfence.broker.demo.plane import fill_in
from ringfence.policy.load import load_documents
from ringfence.policy.model import Effect

FACTS = {"UID": "1234", "X509_TTL": "40s"}
CORE = "banking/core"


def test_it_is_valid_as_it_stands() -> None:
    """It is also the example that people start from."""
    loaded = load_documents([(each.name, each.read_text()) for each in INTENT.iterdir()], default_trust_domain="x.org")

    assert [finding.code for finding in loaded.findings if finding.level == "error"] == []
    assert loaded.model is not None
    assert str(loaded.model.mesh.trust_domain) == TRUST_DOMAIN


def test_every_placeholder_is_known() -> None:
    """A new one without a fact would leave the scenario with somebody else's user."""
    for document in INTENT.iterdir():
        assert "${" not in fill_in(document.read_text(), FACTS)


def test_core_banking_is_open_to_one_identity_on_one_path() -> None:
    """One Allow leads there; it names one workload, one method and one path."""
    loaded = load_documents([(each.name, each.read_text()) for each in INTENT.iterdir()], default_trust_domain="x.org")
    assert loaded.model is not None
    leading = [
        rule
        for rule in loaded.model.rules
        if rule.effect is Effect.ALLOW and any(each.key == CORE for each in rule.destinations)
    ]

    assert [rule.id for rule in leading] == ["banking/gateway-holds-payments"]
    assert [(match.methods, [path.text for path in match.paths]) for match in leading[0].http] == [
        (frozenset({"POST"}), ["/v1/holds"])
    ]
