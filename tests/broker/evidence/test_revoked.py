"""A refusal for a revocation is explained like any other: by whom, when, why, and what would help."""

from __future__ import annotations

import pytest

from ringfence.admin.v1.admin_pb2 import Decision
from ringfence.broker.evidence.judge import Question
from ringfence.broker.evidence.revoked import tell_revoked
from ringfence.broker.evidence.service import Evidence
from ringfence.broker.evidence.story import tell
from ringfence.certs.revocation import Revocations, RevokedIdentity, RevokedSerial
from ringfence.xds import decision as envoy
from tests.broker.evidence.books import NoRules
from tests.broker.evidence.test_judge import MODEL
from tests.broker.evidence.test_receive import TRACE, denied_request, export
from tests.broker.evidence.test_service import report

CALLER = "spiffe://example.test/ns/team-a/sa/trainer"
SERIAL = "00" + "e6" * 15
IDENTITY = Revocations.of((), [RevokedIdentity(CALLER, 1_790_000_000, "laptop lost", "uid 0")])
ONE = Revocations.of([RevokedSerial(SERIAL, CALLER, "key", "node", 2**31, 1_790_000_000, "keyCompromise", "stolen")])


@pytest.mark.parametrize(
    ("revocations", "words"),
    [(IDENTITY, f"{CALLER} was revoked on 2026-09-21 at 14:13:20 UTC: laptop lost"), (ONE, f"{SERIAL} was revoked")],
)
async def test_what_a_proxy_refused_says_what_was_revoked(revocations: Revocations, words: str) -> None:
    """By the identity in the caller's certificate, or by its serial, which Envoy writes without leading zeros."""
    evidence = Evidence(NoRules(), revocations=lambda: revocations)
    refused = denied_request(
        **{envoy.DENY: "revoked@builtin", envoy.PEER: CALLER, envoy.PEER_SERIAL: SERIAL.removeprefix("00")}
    )
    await report(evidence, export(refused).SerializeToString())
    (found,) = await evidence.explain(TRACE, 0)

    assert (found.rule, found.rule_hash, found.allowed) == ("revoked", "builtin", False)
    assert words in found.reason
    assert found.author == ("uid 0" if revocations is IDENTITY else "")


def test_the_model_is_asked_with_what_is_revoked() -> None:
    """`authz check` agrees with the proxies, for a revoked caller and for a revoked server."""
    for name in ("spiffe://example.test/ns/team-a/sa/trainer", "spiffe://example.test/ns/shared/sa/registry"):
        revoked = Revocations.of((), [RevokedIdentity(name, 5, "left", "alice")])
        evidence = Evidence(NoRules(), model=lambda: MODEL, revocations=lambda now=revoked: now)  # type: ignore[misc]
        question = Question("team-a/trainer", "shared/registry", "http", "GET", "/models/team-a/x")
        found = evidence.check(MODEL, question)
        assert (found.rule, found.allowed) == ("revoked", False)
        assert f"{name} was revoked" in found.reason
        assert "would allow  no Allow, while that is revoked" in tell(found)


def test_what_was_lifted_since_and_what_rules_decided_keep_their_words() -> None:
    """Nothing is said that does not hold any more."""
    for rule in ("revoked", "team-a/pull"):
        told = Decision(rule=rule, reason="as it was", source=CALLER)
        tell_revoked(told, Revocations())
        assert told.reason == "as it was"
    told = Decision(rule="team-a/pull", reason="as it was", source=CALLER)
    tell_revoked(told, IDENTITY)
    assert told.reason == "as it was"
