"""Revocations as policy sees them: by the caller they speak of, and only where some rule speaks of that caller too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from ringfence.certs.revocation import Revocations, RevokedSerial
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.policy.callers import NOBODY, RevokedCaller
from ringfence.policy.identities import Identity, Ranks, ranks_of
from ringfence.policy.model import Model, Rule
from ringfence.policy.scope import source_prefix

_NOT = RevokedCaller(whole=False, serials=frozenset(), newest=0)


def with_revoked(model: Model, revocations: Revocations) -> Model:
    """*model* with what is revoked now; its revision stays, since intent says nothing of it."""
    return replace(model, revoked=callers(revocations))


def callers(revocations: Revocations) -> Mapping[str, RevokedCaller]:
    """What is revoked by SPIFFE ID: an identity as a whole, whatever certificates it has, or single ones of it."""
    serials: defaultdict[str, list[RevokedSerial]] = defaultdict(list)
    for one in revocations.serials.values():
        serials[one.spiffe_id].append(one)
    found = {}
    for name in sorted(serials.keys() | revocations.identities.keys()):
        if (whole := revocations.identities.get(name)) is not None:
            found[name] = RevokedCaller(whole=True, serials=frozenset(), newest=whole.revoked_at)
        else:
            times = {one.serial: one.revoked_at for one in serials[name]}
            ends = datetime.fromtimestamp(max(one.not_after for one in serials[name]), UTC)
            found[name] = RevokedCaller(whole=False, serials=frozenset(times), newest=max(times.values()), ends=ends)
    return found


def settled(before: Mapping[str, RevokedCaller], now: Mapping[str, RevokedCaller]) -> Mapping[str, RevokedCaller]:
    """*now*, in which callers of whom certificates have only ended since *before* stay as they were.

    A certificate that has ended is refused by its date. To forget it would change what is enforced for nothing, and
    where connections are judged that closes them; it goes along with the next change for its identity.
    """
    kept = {
        name: old
        for name, old in before.items()
        if not old.whole and (new := now.get(name, _NOT)).serials <= old.serials and not new.whole
    }
    return {**now, **kept}


def is_revoked(revoked: Mapping[str, RevokedCaller], spiffe_id: Identity, serial: str = "") -> bool:
    """Whether the caller with that identity, and with a certificate of that serial (32 digits), is among *revoked*.

    Of a job it is asked rank by rank: all of them together never are.
    """
    caller = revoked.get(str(spiffe_id), _NOT)
    return caller.whole or serial in caller.serials


def meant(
    revoked: Mapping[str, RevokedCaller], rules: Iterable[Rule], trust_domain: TrustDomain
) -> Mapping[str, RevokedCaller]:
    """Those of *revoked* whom some of *rules* means: a caller whom no rule means is denied by default already."""
    if not revoked:
        return NOBODY
    sources = {source for rule in rules for source in rule.sources}
    identities = {source.identity for source in sources if source.identity is not None}
    prefixes = tuple(source_prefix(source, trust_domain) for source in sources if source.identity is None)
    return {name: one for name, one in revoked.items() if name.startswith(prefixes)} | among(revoked, identities)


def among(revoked: Mapping[str, RevokedCaller], identities: Collection[Identity]) -> dict[str, RevokedCaller]:
    """Those of *revoked* who are one of *identities*, or one of their ranks; sorted by name."""
    found = {str(identity) for identity in identities} & revoked.keys()
    if jobs := {identity for identity in identities if isinstance(identity, Ranks)}:
        found |= {name for name in revoked if ranks_of(SpiffeId.parse(name)) in jobs}
    return {name: revoked[name] for name in sorted(found)}
