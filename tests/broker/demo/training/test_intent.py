"""The training scenario's intent: valid as it stands, filled in for the machine, and as narrow as it says."""

from __future__ import annotations

from datetime import UTC, datetime

from ringfence.broker.demo.plane import fill_in
from ringfence.broker.demo.training.stage import FABRIC, INTENT, JOB, STORE, TRUST_DOMAIN, rank_id
from ringfence.broker.demo.training.wires import FABRIC as INTERFACE
from ringfence.broker.demo.training.wires import PORTS
from ringfence.policy.load import load_documents
from ringfence.policy.model import Model


def model() -> Model:
    """What it means."""
    loaded = load_documents([(each.name, each.read_text()) for each in INTENT.iterdir()], default_trust_domain="x.org")
    assert [str(finding) for finding in loaded.findings] == []
    assert loaded.model is not None
    return loaded.model


def test_it_is_valid_as_it_stands() -> None:
    """Without a warning: it is also the example that people start from."""
    assert str(model().mesh.trust_domain) == TRUST_DOMAIN


def test_every_placeholder_is_known() -> None:
    """A new one without a fact would leave the scenario with somebody else's user."""
    for document in INTENT.iterdir():
        assert "${" not in fill_in(document.read_text(), {"UID": "1234"})


def test_it_says_what_the_stage_takes_for_granted() -> None:
    """The interface, the ports that gloo is to choose of, the store's, and the ranks' identities."""
    found = model()
    fabric = found.fabrics[FABRIC]
    assert [str(one) for one in fabric.interfaces] == [INTERFACE]
    assert [str(span) for span in fabric.ports] == ["-".join(PORTS.split())]
    assert [port.number for port in found.workloads["team-a/trainer"].serves] == [STORE]
    assert rank_id(1) == f"spiffe://{TRUST_DOMAIN}/ns/team-a/job/llm/rank/1"


def test_one_job_of_one_tenant_has_a_grant() -> None:
    """And its store is for its own ranks."""
    found, now = model(), datetime(2026, 1, 1, tzinfo=UTC)
    assert [one.job_key for one in found.fabric_grants.values() if one.in_force(now)] == [JOB]
    for rule in found.rules:
        assert {source.identity.namespace for source in rule.sources} == {
            each.key.partition("/")[0] for each in rule.destinations
        }
