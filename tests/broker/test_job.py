"""What a batch is known by."""

from __future__ import annotations

from ringfence.broker.job import Job, about
from ringfence.broker.telemetry.names import COUNT, ENTRY, SPIFFE_ID
from tests.certs.material import HOUR, NOW, TRAINER, new_authority, new_key


def _job(entry_id: str) -> Job:
    authority, _ = new_authority()
    return Job.of(entry_id, authority.draft_x509(TRAINER, new_key().public_key(), now=NOW, ttl=HOUR))


def test_the_ledger_knows_an_instance_by_its_rule() -> None:
    """The path behind the # is the agent's way to ask, and the identity says it already; the audit log keeps both."""
    job = _job("rule-1#/ns/team-a/sa/trainer")
    intent = job.intent("spiffe://example.org/agent", "ab12")
    assert (intent.entry_id, intent.spiffe_id, intent.authority) == ("rule-1", str(TRAINER), "ab12")
    assert intent.not_after == int(job.draft.not_after.timestamp())
    assert int(job.serial, 16) == job.draft.serial
    assert job.issued == (job.serial, str(TRAINER), "rule-1#/ns/team-a/sa/trainer")


def test_a_span_names_one_and_counts_many() -> None:
    """Five hundred names are no attribute."""
    one = _job("e1")
    assert about([one]) == {SPIFFE_ID: str(TRAINER), ENTRY: "e1"}
    assert about([one, one]) == {COUNT: 2}
