"""Rules as Envoy's matcher trees: first by who calls, then by what is asked, and a named action at every end.

A tree is keyed on *all* URI SANs of the peer joined by commas, so that a certificate with two of them is no key; it
costs the same for ten and for ten thousand callers. Of several rules that match, the narrowest source speaks first
(workload, namespace, mesh), then the smallest id, as `ringfence.policy.evaluate` has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ringfence.certs.spiffe_id import TrustDomain
from ringfence.policy.callers import NOBODY, RevokedCaller, Source
from ringfence.policy.canonical import AMBIGUOUS
from ringfence.policy.identities import Ranks
from ringfence.policy.model import DEFAULT_DENY, NO_DENY, NOT_ONE_URI, REVOKED, Effect, Rule, named
from ringfence.policy.scope import breadth, source_prefix
from ringfence.xds import codec, predicates, tokens
from ringfence.xds.predicates import Fields

Conditions = Callable[[Rule], Sequence[Fields]]

_Meant = tuple[Rule, tuple[str, ...]]  # a rule, and where its callers must call from
ONE_URI = "one-uri"  # what the guard says of a certificate with exactly one URI SAN
# The characters of a SPIFFE ID and no others (SPIFFE-ID.md, 2): a newline after it would be another name to an exact
# match, and the same to a prefix. Envoy joins several names with commas, and RE2 here matches whole values only.
_ONE_URI_REGEX = "spiffe://[a-z0-9._-]+(/[a-zA-Z0-9._-]+)*"


def act(policy_id: str, *, allow: bool) -> Fields:
    """The end of a branch: an action whose name is the policy id that logs and spans carry."""
    action = codec.extension("action", "envoy.config.rbac.v3.Action", name=policy_id, action=_action(allow=allow))
    return {"action": action}


def decided(rule: Rule) -> Fields:
    """The end of a branch by a rule's own name and effect."""
    return act(rule.policy_id, allow=rule.effect is Effect.ALLOW)


def guard(after: Fields | None = None) -> Fields:
    """Lets only a peer with exactly one URI SAN go on to *after*; anything else is denied as `not-one-uri`.

    Envoy's SPIFFE validator accepts two URI SANs, against X509-SVID section 2: without the guard a foreign authority
    could add one of our names, and a prefix match would take it.
    """
    single = {"input": predicates.uri_san(), "value_match": {"safe_regex": predicates.regex(_ONE_URI_REGEX)}}
    on_match = after or act(named(ONE_URI), allow=True)
    field = {"predicate": {"single_predicate": single}, "on_match": on_match}
    return {"matcher_list": {"matchers": [field]}, "on_no_match": act(named(NOT_ONE_URI), allow=False)}


def guard_requests() -> Fields:
    """The guard of a listener that sees requests: an ambiguous path (policy.canonical) is no rule's to allow."""
    matcher = guard()
    matcher["matcher_list"]["matchers"].insert(0, _ambiguous())
    return matcher


def guard_paths() -> Fields:
    """The same where the caller is the workload itself and shows no certificate: on the way out."""
    return {"matcher_list": {"matchers": [_ambiguous()]}, "on_no_match": act(named(NO_DENY), allow=True)}


def _ambiguous() -> Fields:
    predicate = predicates.header(":path", {"safe_regex": predicates.regex(AMBIGUOUS)})
    return {"predicate": predicate, "on_match": act(named(DEFAULT_DENY), allow=False)}


def by_peer(
    rules: Iterable[Rule],
    trust_domain: TrustDomain,
    conditions: Conditions,
    otherwise: Fields,
    revoked: Mapping[str, RevokedCaller] = NOBODY,
) -> Fields:
    """The tree of rules of one effect; *otherwise* is what follows when none of them matches.

    Where a key is found but nothing below it matches, Envoy goes on to `on_no_match`: that chains the levels. Whoever
    is *revoked* is denied before any rule is asked, since identities come before all else.
    """
    levels: tuple[dict[str, dict[str, _Meant]], ...] = ({}, {}, {})
    jobs: dict[Ranks, dict[str, _Meant]] = {}
    for rule in sorted(rules, key=lambda r: r.id):
        for source in rule.sources:
            key = str(source.identity or source_prefix(source, trust_domain))
            ranks = source.identity if isinstance(source.identity, Ranks) else None
            of_key = jobs.setdefault(ranks, {}) if ranks else levels[breadth(source)].setdefault(key, {})
            of_key[rule.id] = _meant(rule, source, of_key.get(rule.id))
    matcher: Fields = {"on_no_match": otherwise}
    for level, kind in zip(reversed(levels), ("prefix_match_map", "prefix_match_map", "exact_match_map"), strict=True):
        found = {key: _first_meant(list(some.values()), conditions) for key, some in sorted(level.items())}
        if kind == "exact_match_map":
            matcher = _ranks_first(jobs, conditions, matcher) if jobs else matcher
            found |= {name: _refused(caller, found.get(name)) for name, caller in sorted(revoked.items())}
        if found:
            matcher = {
                "matcher_tree": {"input": predicates.uri_san(), kind: {"map": found}},
                "on_no_match": then(matcher),
            }
    return matcher


def _ranks_first(jobs: Mapping[Ranks, dict[str, _Meant]], conditions: Conditions, otherwise: Fields) -> Fields:
    """By the job of which the caller is a rank: found by how its name begins, and known by the whole of it."""
    found = {}
    for ranks, some in sorted(jobs.items()):
        whole = {"input": predicates.uri_san(), "value_match": {"safe_regex": predicates.regex(ranks.pattern)}}
        end = _first_meant(list(some.values()), conditions)
        field = {"predicate": {"single_predicate": whole}, "on_match": end}
        found[ranks.prefix] = {"matcher": {"matcher_list": {"matchers": [field]}}}
    tree = {"input": predicates.uri_san(), "prefix_match_map": {"map": found}}
    return {"matcher_tree": tree, "on_no_match": then(otherwise)}


def _meant(rule: Rule, source: Source, before: _Meant | None) -> _Meant:
    """*rule* as it means one key: from anywhere, if one of the sources that lead there says so."""
    if not source.cidrs or (before is not None and not before[1]):
        return rule, ()
    return rule, tuple(sorted({*source.cidrs, *(before[1] if before is not None else ())}))


def _first_meant(some: Sequence[_Meant], conditions: Conditions) -> Fields:
    where = {rule.id: cidrs for rule, cidrs in some}

    return first_of([rule for rule, _ in some], lambda rule: _narrowed(conditions(rule), where[rule.id]))


def _narrowed(wanted: Sequence[Fields], cidrs: Sequence[str]) -> Sequence[Fields]:
    """Alternatives, each from there only where *cidrs* say from where."""
    return each_with(predicates.comes_from(cidrs), wanted) if cidrs else wanted


def each_with(predicate: Fields, wanted: Sequence[Fields]) -> Sequence[Fields]:
    """Alternatives, each only where *predicate* holds as well; without any it is what is asked."""
    return tuple({"and_matcher": {"predicate": [predicate, one]}} for one in wanted) or (predicate,)


def in_plaintext(conditions: Conditions) -> Conditions:
    """The same conditions for callers without an identity, who come from where the rule takes such callers."""
    return lambda rule: _narrowed(conditions(rule), rule.plaintext or ())


def _refused(caller: RevokedCaller, rules: Fields | None) -> Fields:
    """What follows for a revoked caller; one of whom only some certificates are revoked may go on to its *rules*."""
    end = act(named(REVOKED), allow=False)
    if caller.whole:
        return end
    found = {predicates.as_envoy_writes(serial): end for serial in sorted(caller.serials)}
    matcher: Fields = {"matcher_tree": {"input": predicates.peer_serial(), "exact_match_map": {"map": found}}}
    return {"matcher": matcher | ({"on_no_match": rules} if rules is not None else {})}


def by_authority(exact: Mapping[str, Fields], wild: Sequence[tuple[str, Fields]], otherwise: Fields) -> Fields:
    """By the host that is asked for; *wild* are regexes for those that are not among the *exact* ones, in turn.

    An exact host is taken in any case (RFC 9110 section 4.2.3); Envoy's maps would tell cases apart. Each branch must
    have an end of its own: from one that has none Envoy goes on to those after it.
    """
    named_hosts = [({"exact": host, "ignore_case": True}, end) for host, end in sorted(exact.items())]
    return _in_turn(lambda value: predicates.header(":authority", value), [*named_hosts, *_by_regex(wild)], otherwise)


def by_server_name(found: Mapping[str, Fields], otherwise: Fields) -> Fields:
    """By the name that a TLS client asks for (SNI), which Envoy writes in lower case; one that asks for none has ""."""
    return {
        "matcher_tree": {"input": predicates.server_name(), "exact_match_map": {"map": dict(found)}},
        "on_no_match": otherwise,
    }


def by_server_names(wild: Sequence[tuple[str, Fields]], otherwise: Fields) -> Fields:
    """The same by regexes, in turn; each branch must have an end."""
    return _in_turn(predicates.asked_name, _by_regex(wild), otherwise)


def _by_regex(wild: Sequence[tuple[str, Fields]]) -> list[tuple[Fields, Fields]]:
    return [({"safe_regex": predicates.regex(text)}, end) for text, end in wild]


def _in_turn(
    predicate: Callable[[Fields], Fields], found: Sequence[tuple[Fields, Fields]], otherwise: Fields
) -> Fields:
    if not found:
        return {"on_no_match": otherwise}
    matchers = [{"predicate": predicate(value), "on_match": end} for value, end in found]
    return {"matcher_list": {"matchers": matchers}, "on_no_match": otherwise}


def first_of(rules: Sequence[Rule], conditions: Conditions) -> Fields:
    """What follows for a caller whom all these rules mean: the first whose conditions hold decides.

    A rule without conditions ends the list: those after it never speak.
    """
    matchers: list[Fields] = []
    for rule in rules:
        end = decided(rule)
        wanted = conditions(rule)
        if not wanted:
            return {"matcher": {"matcher_list": {"matchers": matchers}, "on_no_match": end}} if matchers else end
        matchers.append({"predicate": predicates.either("or_matcher", wanted), "on_match": end})
    return {"matcher": {"matcher_list": {"matchers": matchers}}}


def sequence(rules: Sequence[Rule], conditions: Conditions, otherwise: Fields) -> Fields:
    """The matcher that asks these rules in turn, whoever calls; *otherwise* is what follows when none matches."""
    if not rules:
        return {"on_no_match": otherwise}
    found = first_of(rules, conditions)
    if "action" in found:
        return {"on_no_match": found}
    matcher: Fields = found["matcher"]
    return {"on_no_match": otherwise, **matcher}


def on_connections(rule: Rule) -> Sequence[Fields]:  # noqa: ARG001  # one of the two Conditions
    """A connection can only be judged by its peer; the loader refuses HTTP conditions on TCP ports."""
    return ()


def on_requests(rule: Rule) -> Sequence[Fields]:
    """One predicate for each alternative of a rule's `http`, each with its token; none when it does not restrict."""
    wanted = tuple(predicates.asks(match, rule.effect) for match in rule.http)
    if rule.token is None:
        return wanted
    token = tokens.asks(rule.token, rule.effect)
    return tuple({"and_matcher": {"predicate": [one, token]}} for one in wanted) or (token,)


def then(matcher: Fields) -> Fields:
    """A matcher as what follows; one that only has an end is that end."""
    return matcher["on_no_match"] if set(matcher) == {"on_no_match"} else {"matcher": matcher}


def as_matcher(fields: Fields) -> Any:
    """The message of a matcher, for what holds it."""
    return codec.build("xds.type.matcher.v3.Matcher", **fields)


def _action(*, allow: bool) -> str:
    return "ALLOW" if allow else "DENY"
