"""What rules ask of callers beside their names, in gRPC's dialect: what it cannot ask allows nobody."""

from __future__ import annotations

import re
from dataclasses import replace

from ringfence.certs.spiffe_id import TrustDomain
from ringfence.policy.callers import Source
from ringfence.policy.model import Effect, Protocol, Rule
from ringfence.policy.tokens import TokenMatch
from ringfence.xds.proxyless.losses import losses
from tests.differential.cases import CERTIFICATES, IDENTITIES, JOBS, PLAIN, SERVER, Asked, model_of
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


RANKS = [name for name, uris in CERTIFICATES.items() if len(uris) == 1 and re.fullmatch(JOBS[0].pattern, uris[0])]
OTHERS = ["team-a/job/llm2/rank/1", "a rank of elsewhere", "two, one a rank", "team-a/sa/trainer", "with a newline"]
OTHERS += [f"team-a/job/llm/rank/{rest}" for rest in ("01", "1a", "1/x", "1000000")]


def test_an_allow_of_a_job_lets_in_its_ranks_alone():
    """Nobody whose name only begins so, and no certificate with another name beside that of a rank."""
    allow = a_rule(sources=(Source(JOBS[0], None),))
    assert len(RANKS) == 2
    assert all(lets_in((allow,), replace(ASKED, certificate=name)) for name in RANKS)
    assert not any(lets_in((allow,), replace(ASKED, certificate=name)) for name in OTHERS)


def test_a_deny_of_a_job_holds_its_ranks_off():
    """Whatever name stands beside theirs; and nobody else."""
    rules = (a_rule(sources=(Source(None, None),)), a_rule(Effect.DENY, sources=(Source(JOBS[0], None),)))
    held = [*RANKS, "two, one a rank"]
    assert not any(lets_in(rules, replace(ASKED, certificate=name)) for name in held)
    assert all(lets_in(rules, replace(ASKED, certificate=name)) for name in OTHERS if "/" in name)


def test_a_rule_for_another_trust_domain_lets_none_of_ours_in():
    """And what it takes for theirs is said."""
    rule = a_rule(sources=(Source(None, None, TrustDomain("partner.example")),))
    assert not lets_in((rule,), ASKED)
    assert lost(rule) == ["t/allow: callers of another trust domain are let in by the bundle map only"]
