"""Matcher trees mean what the evaluator means, whatever the rules: a property held without Envoy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.policy.callers import NOBODY, RevokedCaller, Source
from ringfence.policy.evaluate import Request, evaluate
from ringfence.policy.headers import HeaderMatch, Headers
from ringfence.policy.identities import Ranks
from ringfence.policy.model import (
    Destination,
    Effect,
    HttpMatch,
    Mesh,
    Mode,
    Model,
    Origin,
    Port,
    Protocol,
    Rule,
    Workload,
    named,
)
from ringfence.policy.paths import PathPattern
from ringfence.policy.revoked import is_revoked, meant
from ringfence.xds import matcher
from tests.xds.trees import verdict

NOW = datetime(2026, 11, 24, tzinfo=UTC)
DOMAIN = TrustDomain("example.test")
NAMES = ("a", "b")
HERE = Origin("intent.yaml", 1)
TTL = NOW - NOW


def identity(namespace: str, name: str, domain: TrustDomain = DOMAIN) -> SpiffeId:
    """The identity of a workload."""
    return SpiffeId(domain, f"/ns/{namespace}/sa/{name}")


def workload(namespace: str, name: str, *serves: Port) -> Workload:
    """A workload of which only identity and ports matter."""
    return Workload(namespace, name, "other", identity(namespace, name), (), serves, (), TTL, TTL, (), HERE)


# A job by the name of a workload beside it, and one whose name begins so; ranks, and names that only look like some.
JOBS = st.builds(Ranks, st.just(DOMAIN), st.sampled_from(NAMES), st.sampled_from(("a", "a2")))
RANKS = st.builds(Ranks.rank, JOBS, st.sampled_from((0, 1, 12)))
LOOKALIKES = st.builds(lambda job, rest: SpiffeId(DOMAIN, job.path + rest), JOBS, st.sampled_from(("01", "1a", "1/1")))
WORKLOADS = st.builds(identity, st.sampled_from(NAMES), st.sampled_from(NAMES))
IDENTITIES = WORKLOADS | RANKS | LOOKALIKES
SOURCES = st.one_of(
    (WORKLOADS | JOBS).map(lambda one: Source(one, None)),
    st.sampled_from(NAMES).map(lambda name: Source(None, name)),
    st.just(Source(None, None)),
)
PARTNER = TrustDomain("partner.example")
PARTNERS = st.builds(identity, st.sampled_from(NAMES), st.sampled_from(NAMES), st.just(PARTNER))
FOREIGN = st.one_of(PARTNERS.map(lambda one: Source(one, None)), st.just(Source(None, None, PARTNER)))
METHODS = st.sampled_from(["GET", "PUT"])
PATHS = st.sampled_from(["/m/a", "/m/b", "/m", "/n/a", "/m/a/c"])
PATTERNS = st.sampled_from(["/m/a", "/m/*", "/m/**", "/**", "/n/a"]).map(PathPattern)
HEADERS = st.sampled_from([HeaderMatch("x-role", "ro"), HeaderMatch("x-role", prefix="r"), HeaderMatch("x-role")])
LINES = st.sampled_from([(), ("ro",), ("rw",), ("rw", "ro"), ("ro, x",), ("",)]).map(
    lambda values: tuple(("x-role", value) for value in values)
)
MATCHES = st.builds(
    HttpMatch,
    st.frozensets(METHODS, max_size=2),
    st.lists(PATTERNS, max_size=2, unique=True).map(tuple),
    st.lists(HEADERS, max_size=2, unique=True).map(tuple),
)
SERIALS = ("0" * 32, "00" * 15 + "7f", "0a" * 16, "e657d30f45f8e8f97c0280dcf3a147dd")
REVOKED = st.dictionaries(
    IDENTITIES.map(str),
    st.builds(RevokedCaller, st.booleans(), st.frozensets(st.sampled_from(SERIALS)), st.integers(0, 9)),
    max_size=3,
)


@st.composite
def rules(draw: st.DrawFn, sources: st.SearchStrategy[Source] = SOURCES) -> tuple[Rule, ...]:
    """Some enforced rules for one port, sorted by id as a model has them."""
    count = draw(st.integers(0, 6))
    return tuple(
        Rule(
            "team",
            f"r{number}",
            draw(st.sampled_from(Effect)),
            Mode.ENFORCE,
            draw(st.lists(sources, min_size=1, max_size=3, unique=True).map(tuple)),
            (Destination("shared/registry", "http"),),
            draw(st.lists(MATCHES, max_size=2).map(tuple)),
            "owner",
            "reason",
            None,
            f"{number:012x}",
            HERE,
        )
        for number in range(count)
    )


def model_of(some: tuple[Rule, ...], revoked: Mapping[str, RevokedCaller] = NOBODY) -> Model:
    """A model with one served port and these rules."""
    port = Port("http", 8080, Protocol.HTTP)
    served = {"shared/registry": workload("shared", "registry", port)}
    return Model(Mesh(DOMAIN, TTL, TTL), served, {}, some, "r", revoked)


def judged(
    some: tuple[Rule, ...],
    caller: str,
    method: str,
    path: str,
    revoked: Mapping[str, RevokedCaller] = NOBODY,
    serial: str = "",
    lines: Headers = (),
    address: str = "127.0.0.1",
) -> tuple[str, bool]:
    """The verdict of guard, deny and allow trees in turn; *serial* as Envoy writes it, *lines* joined as it does."""
    here = meant(revoked, some, DOMAIN)
    headers = {":method": method, ":path": path}
    headers |= {name: ",".join(value for _, value in lines) for name, _ in lines}
    guarded = verdict(matcher.as_matcher(matcher.guard_requests()), caller)
    assert guarded is not None
    if not guarded[1]:
        return guarded
    for effect, end in (
        (Effect.DENY, matcher.act(named("none"), allow=True)),
        (Effect.ALLOW, matcher.act(named("default-deny"), allow=False)),
    ):
        of_effect = tuple(rule for rule in some if rule.effect is effect)
        refused = here if effect is Effect.DENY else NOBODY
        tree = matcher.as_matcher(matcher.by_peer(of_effect, DOMAIN, matcher.on_requests, end, refused))
        found = verdict(tree, caller, headers, serial, address)
        assert found is not None, "no tree ends without a name"
        if found[0] != named("none"):
            return found
    raise AssertionError


@given(rules(), IDENTITIES, METHODS, PATHS, LINES)
def test_the_trees_say_what_the_evaluator_says(
    some: tuple[Rule, ...], caller: SpiffeId, method: str, path: str, lines: Headers
):
    """The same verdict by the same policy id, for any rules, caller, method, path and headers."""
    request = Request(caller, "shared/registry", "http", NOW, method=method, path=path, headers=lines)
    expected = evaluate(model_of(some), request)
    assert judged(some, str(caller), method, path, lines=lines) == (expected.policy_id, expected.allowed)


@given(rules(), REVOKED, IDENTITIES, st.sampled_from(SERIALS), METHODS, PATHS)
def test_whoever_is_revoked_is_refused_before_any_rule_is_asked(
    some: tuple[Rule, ...],
    revoked: Mapping[str, RevokedCaller],
    caller: SpiffeId,
    serial: str,
    method: str,
    path: str,
):
    """Trees and evaluator agree on identities and on single certificates, and nobody revoked is ever let in."""
    model = model_of(some, revoked)
    expected = evaluate(model, Request(caller, "shared/registry", "http", NOW, method, path, serial))
    written = f"{int(serial, 16):x}"  # as Envoy does: whole bytes, none of them a leading zero
    written = written if len(written) % 2 == 0 else f"0{written}"
    assert judged(some, str(caller), method, path, revoked, written) == (expected.policy_id, expected.allowed)
    assert not (is_revoked(revoked, caller, serial) and expected.allowed)


@given(rules(), st.lists(IDENTITIES, min_size=2, max_size=3), METHODS, PATHS)
def test_several_names_are_none(some: tuple[Rule, ...], names: list[SpiffeId], method: str, path: str):
    """A certificate with two URI SANs is denied by the guard, whatever the rules."""
    assert judged(some, ",".join(map(str, names)), method, path) == (named("not-one-uri"), False)


@given(rules(), IDENTITIES, st.characters(codec="ascii", exclude_characters="/._-", categories=("P", "S", "Z", "C")))
def test_a_name_with_another_character_is_none(some: tuple[Rule, ...], caller: SpiffeId, added: str):
    """No exact Deny means a NAME with a newline, but a namespace's Allow would: the guard refuses what is no ID."""
    assert judged(some, f"{caller}{added}", "GET", "/m/a") == (named("not-one-uri"), False)


@given(rules(), IDENTITIES)
def test_a_foreign_trust_domain_matches_no_rule(some: tuple[Rule, ...], caller: SpiffeId):
    """The same path in another domain is another identity, for rules on namespaces and on the mesh too."""
    foreign = SpiffeId(TrustDomain("example.test.evil"), caller.path)
    allows = tuple(rule for rule in some if rule.effect is Effect.ALLOW)
    assert judged(allows, str(foreign), "GET", "/m/a") == (named("default-deny"), False)


ADDRESSES = ("10.1.0.1", "10.2.0.1", "fd00::1")
NARROWED = st.builds(
    replace,
    SOURCES,
    cidrs=st.lists(st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "fd00::/8"]), max_size=2, unique=True).map(tuple),
)


@given(rules(NARROWED), IDENTITIES, METHODS, PATHS, st.sampled_from(ADDRESSES))
def test_where_a_call_comes_from_is_judged_alike(
    some: tuple[Rule, ...], caller: SpiffeId, method: str, path: str, address: str
):
    """Beside who calls: an address alone lets nobody in, and an unknown one satisfies no Allow and escapes no Deny."""
    request = Request(caller, "shared/registry", "http", NOW, method=method, path=path, address=address)
    expected = evaluate(model_of(some), request)
    assert judged(some, str(caller), method, path, address=address) == (expected.policy_id, expected.allowed)
    if evaluate(model_of(some), replace(request, address="")).allowed:
        assert expected.allowed


@given(rules(SOURCES | FOREIGN), IDENTITIES | PARTNERS, METHODS, PATHS)
def test_callers_of_another_trust_domain_are_judged_alike(
    some: tuple[Rule, ...], caller: SpiffeId, method: str, path: str
):
    """By the same trees: what is said of a partner is said of nobody else, and the other way round."""
    request = Request(caller, "shared/registry", "http", NOW, method=method, path=path)
    expected = evaluate(model_of(some), request)
    assert judged(some, str(caller), method, path) == (expected.policy_id, expected.allowed)
    if caller.trust_domain == PARTNER and not any(s.foreign(DOMAIN) for rule in some for s in rule.sources):
        assert not expected.allowed


@given(rules(FOREIGN), PARTNERS)
def test_a_trust_domain_whose_name_begins_alike_is_another(some: tuple[Rule, ...], caller: SpiffeId):
    """A rule for partner.example says nothing of partner.example.evil."""
    evil = SpiffeId(TrustDomain("partner.example.evil"), caller.path)
    allows = tuple(rule for rule in some if rule.effect is Effect.ALLOW)
    assert judged(allows, str(evil), "GET", "/m/a") == (named("default-deny"), False)


@given(rules())
def test_bytes_do_not_depend_on_the_order_of_rules(some: tuple[Rule, ...]):
    """Sorting is the tree's own: two servers that hold rules in another order push the same bytes."""
    end = matcher.act(named("default-deny"), allow=False)

    def tree(ordered: tuple[Rule, ...]) -> bytes:
        fields = matcher.by_peer(ordered, DOMAIN, matcher.on_requests, end)
        return bytes(matcher.as_matcher(fields).SerializeToString(deterministic=True))

    assert tree(some) == tree(tuple(reversed(some)))
