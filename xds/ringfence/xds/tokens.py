"""End users' tokens: the filter that verifies them before any rule, and what rules then ask of their claims.

The filter refuses nothing by itself. What it has verified it leaves in the metadata of the request, by issuer, where
nobody else can write; what is absent, expired, forged or not meant for us is simply not there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ringfence.policy.headers import HeaderMatch
from ringfence.policy.model import Effect, Model, Rule
from ringfence.policy.tokens import SPACED, ClaimMatch, TokenIssuer, TokenMatch
from ringfence.xds import codec
from ringfence.xds.snapshot import Resource
from ringfence.xds.sources import by_ads
from ringfence.xds.types import type_url

Fields = dict[str, Any]

JWT = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
_INPUT = "envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput"
_MATCHER = "envoy.extensions.matching.input_matchers.metadata.v3.Metadata"
_METADATA = "envoy.filters.http.jwt_authn"
_SKEW = 10  # seconds that clocks may differ; Envoy's own default is a minute
BEARER = HeaderMatch("authorization", prefix="Bearer ")  # RFC 6750 section 2.1; the same in another case is no token


def issuers_of(model: Model, rules: Iterable[Rule]) -> tuple[TokenIssuer, ...]:
    """Whose tokens *rules* ask for, by key."""
    asked = {rule.token.issuer for rule in rules if rule.token is not None}
    return tuple(model.issuers[key] for key in sorted(asked))


def filter_name(where: str) -> str:
    """The name of a listener's filter for tokens."""
    return f"{where}/tokens"


def place(where: str) -> Fields:
    """The filter's place in a listener. No default: nothing is served before it is there."""
    discovery = {"config_source": by_ads(), "type_urls": [type_url(JWT)]}
    return {"name": filter_name(where), "config_discovery": discovery}


def verifier(where: str, issuers: Iterable[TokenIssuer]) -> tuple[str, Resource]:
    """The filter as an extension config, by ECDS: new keys take effect on the next request and drain nothing."""
    # 1. Every token is tried; whether one is wanted is for the rules.
    rule = {"match": {"prefix": "/"}, "requires": {"allow_missing_or_failed": {}}}
    # 2. Of an issuer whose keys are not known no token is valid: it leaves nothing in the metadata.
    known = {issuer.key: _provider(issuer) for issuer in issuers if issuer.jwks}
    made = codec.build(JWT, providers=known, rules=[rule] if known else [])
    config = codec.build(
        "envoy.config.core.v3.TypedExtensionConfig", name=filter_name(where), typed_config=codec.pack(made)
    )
    return codec.resource(filter_name(where), config)


def asks(token: TokenMatch, effect: Effect) -> Fields:
    """The predicate of a rule's token: for an Allow that one is there with the claims, for a Deny the safer reading."""
    valid = _both(_valid(token.issuer))
    claims = [_claim(token.issuer, claim) for claim in token.claims]
    if effect is Effect.ALLOW:
        return _both([valid, *claims])
    missing = {"not_matcher": valid}
    return {"or_matcher": {"predicate": [missing, _both([valid, *claims])]}}


def _provider(issuer: TokenIssuer) -> Fields:
    return {
        "issuer": issuer.issuer,
        "audiences": list(issuer.audiences),
        "local_jwks": {"inline_string": issuer.jwks},
        # Named, since Envoy would look into the query as well: it stands in logs and in what links tell others.
        "from_headers": [{"name": BEARER.name, "value_prefix": BEARER.prefix}],
        "forward": True,
        "payload_in_metadata": issuer.key,
        "normalize_payload_in_metadata": {"space_delimited_claims": list(SPACED)},
        "clock_skew_seconds": _SKEW,
        "require_expiration": True,
    }


def _valid(issuer: str) -> list[Fields]:
    """A verified token, and one only: of several an application may take another than was verified."""
    one = {"google_re2": {}, "regex": BEARER.regex_of_only}
    header = codec.extension(
        "envoy.matching.inputs.request_headers",
        "envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
        header_name=BEARER.name,
    )
    return [
        {"single_predicate": {"input": header, "value_match": {"safe_regex": one}}},
        _said(issuer, "iss", {"string_match": {"safe_regex": {"google_re2": {}, "regex": "(?s:.*)"}}}),
    ]


def _claim(issuer: str, claim: ClaimMatch) -> Fields:
    texts = [{"string_match": {"exact": value}} for value in claim.any_of]
    matchers = [*texts, *({"list_match": {"one_of": text}} for text in texts)]
    return _said(issuer, claim.name, {"or_match": {"value_matchers": matchers}})


def _said(issuer: str, claim: str, value: Fields) -> Fields:
    path = [{"key": issuer}, {"key": claim}]
    given = codec.extension("envoy.matching.inputs.dynamic_metadata", _INPUT, filter=_METADATA, path=path)
    matcher = codec.extension("envoy.matching.matchers.metadata_matcher", _MATCHER, value=value)
    return {"single_predicate": {"input": given, "custom_match": matcher}}


def _both(predicates: list[Fields]) -> Fields:
    return predicates[0] if len(predicates) == 1 else {"and_matcher": {"predicate": predicates}}
