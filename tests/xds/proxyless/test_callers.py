"""What rules ask of callers beside their names, in gRPC's dialect: what it cannot ask allows nobody."""

from __future__ import annotations

from dataclasses import replace

from ringfence.certs.spiffe_id import TrustDomain
from ringfence.policy.model import Effect, Protocol, Rule, Source
from ringfence.policy.tokens import TokenMatch
from ringfence.xds.proxyless.losses import losses
from tests.differential.cases import IDENTITIES, PLAIN, SERVER, Asked, model_of
from tests.policy.intent import NOW
from tests.xds.proxyless.test_rbac import a_rule, lets_in

ASKED = Asked("team-a/sa/trainer", "POST", PLAIN[0])


def lost(*rules: Rule) -> list[str]:
    """What is said to be lost."""
    model = model_of(rules, {"rpc": 1}, Protocol.GRPC)
    return [str(loss) for loss in losses(model, model.workloads[SERVER], NOW)]


def test_an_allow_from_some_addresses_allows_nobody_and_a_deny_holds_from_anywhere():
    """Leaving the addresses out would let callers in from elsewhere."""
    near = Source(IDENTITIES[0], None, cidrs=("10.0.0.0/8",))
    allow, deny = (a_rule(effect, sources=(near,)) for effect in (Effect.ALLOW, Effect.DENY))
    assert not lets_in((allow,), ASKED)
    assert lets_in((replace(allow, sources=(*allow.sources, Source(IDENTITIES[0], None))),), ASKED)
    assert not lets_in((a_rule(), deny), ASKED)
    assert lost(allow, deny) == [
        "t/deny: cidrs cannot be asked for, so the Deny holds without it",
        "t/allow: cidrs cannot be asked for, so the Allow lets nobody in by it",
    ]


def test_an_allow_with_a_token_allows_nobody_and_a_deny_holds_for_everybody():
    """GRPC verifies none."""
    token = TokenMatch("a/b", ())
    assert not lets_in((a_rule(token=token),), ASKED)
    assert not lets_in((a_rule(), a_rule(Effect.DENY, token=token)), ASKED)
    assert lost(a_rule(token=token)) == ["t/allow: token cannot be asked for, so the Allow lets nobody in by it"]


def test_a_rule_for_another_trust_domain_lets_none_of_ours_in():
    """And what it takes for theirs is said."""
    rule = a_rule(sources=(Source(None, None, TrustDomain("partner.example")),))
    assert not lets_in((rule,), ASKED)
    assert lost(rule) == ["t/allow: callers of another trust domain are let in by the bundle map only"]
