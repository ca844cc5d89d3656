"""The filter for tokens: there where a rule asks, before the rules, and nowhere else."""

from __future__ import annotations

from typing import Any

from ringfence.policy.model import Effect
from ringfence.policy.tokens import ClaimMatch, TokenMatch
from ringfence.xds import codec, tokens
from ringfence.xds.snapshot import Snapshot
from ringfence.xds.types import EXTENSION_CONFIG, LISTENER
from tests.policy.test_tokens import ISSUER
from tests.xds.intent import INTENT, REGISTRY, snapshot_of

ASKED = INTENT.replace(
    '  http: [{methods: [GET], paths: ["/models/team-a/**"]}]\n',
    '  http: [{methods: [GET], paths: ["/models/team-a/**"]}]\n  jwt: {issuer: corp, claims: {groups: [ml]}}\n',
)


def filters(snapshot: Snapshot) -> list[str]:
    """Names of the HTTP filters of the port that speaks HTTP."""
    listener = codec.unpack(snapshot.named(LISTENER)["inbound/http"].any)
    manager = next(f for f in listener.filter_chains[0].filters if "connection_manager" in f.name)
    return [one.name for one in codec.unpack(manager.typed_config.SerializeToString()).http_filters]


def test_what_asks_for_no_token_has_not_a_byte_of_it():
    """An issuer that no rule names changes nothing at any proxy."""
    without, with_issuer = (snapshot_of("shared/registry", REGISTRY, text) for text in (INTENT, f"{INTENT}---{ISSUER}"))
    assert without.resources == with_issuer.resources
    assert "inbound/http/tokens" not in without.named(EXTENSION_CONFIG)


def test_tokens_are_verified_after_the_guard_and_before_the_rules():
    """Only at the port whose rule asks; the filter itself refuses nobody."""
    assert ASKED != INTENT
    snapshot = snapshot_of("shared/registry", REGISTRY, f"{ASKED}---{ISSUER}")
    names = filters(snapshot)
    assert names.index("ringfence.guard") < names.index("inbound/http/tokens") < names.index("inbound/http/deny")
    assert [name for name in snapshot.named(EXTENSION_CONFIG) if name.endswith("/tokens")] == ["inbound/http/tokens"]
    config = codec.unpack(snapshot.named(EXTENSION_CONFIG)["inbound/http/tokens"].any)
    made = codec.unpack(config.typed_config.SerializeToString())
    (rule,) = made.rules
    assert rule.requires.HasField("allow_missing_or_failed")
    provider: Any = made.providers["team-a/corp"]
    assert provider.require_expiration
    assert list(provider.audiences) == ["models", "models-staging"]
    assert [header.name for header in provider.from_headers] == ["authorization"]


def test_every_list_of_a_predicate_has_two():
    """Envoy refuses shorter ones."""
    match = TokenMatch("a/b", (ClaimMatch("c", ("d",)),))
    for effect in Effect:
        for token in (match, TokenMatch("a/b", ())):
            tree = {"matcher_list": {"matchers": [{"predicate": tokens.asks(token, effect), "on_match": {}}]}}
            found = codec.build("xds.type.matcher.v3.Matcher", **tree).matcher_list.matchers[0].predicate
            assert _shortest(found) >= 2


def _shortest(predicate: Any) -> int:
    kind = predicate.WhichOneof("match_type")
    if kind == "single_predicate":
        return 2
    if kind == "not_matcher":
        return _shortest(predicate.not_matcher)
    below = getattr(predicate, kind).predicate
    return min(len(below), *map(_shortest, below))
