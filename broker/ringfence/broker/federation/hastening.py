"""Who may have a bundle fetched before its hint says so: agents and proxies that missed a key of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from ringfence.broker import events
from ringfence.broker.entry import Entry
from ringfence.broker.federation.federation import Federation
from ringfence.broker.registry import Registry
from ringfence.certs.errors import RingfenceError
from ringfence.certs.path_template import PathTemplate
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

AGENT, PROXY = "agent", "proxy"  # who met the key


class Hastening:
    """What makes somebody miss a key may be forged by a stranger: it says where to look, never what to believe."""

    def __init__(self, federation: Federation, registry: Registry) -> None:
        self._federation = federation
        self._registry = registry
        self._federating = _Federating()
        self._at = -1  # revision of the registry that it was made of

    def missed_by_agent(self, agent: SpiffeId, name: str) -> None:
        """An agent met a key, of a token or of a broker's issuer, that its bundle of the trust domain *name* lacks."""
        try:
            domain = TrustDomain(name)
        except RingfenceError:
            return
        self._missed(AGENT, domain, agent)

    def missed_by_proxy(self, workload: SpiffeId, domain: TrustDomain) -> None:
        """The proxy of *workload* refused a peer of *domain*, whose issuer is in no bundle that it holds."""
        self._missed(PROXY, domain, workload)

    def _missed(self, kind: str, domain: TrustDomain, who: SpiffeId) -> None:
        # 1. An operator has made a relation with exactly this trust domain: its URL is asked, and no other ever.
        # 2. An entry of whoever asks federates with it: nobody has a say over the relations of others.
        if not self._federation.is_related(domain) or not self._federates(kind, domain, who):
            events.key_missed(kind, "refused")
        # 3. Once within a bounded time, whoever asks and however often.
        elif self._federation.hasten(domain):
            events.fetching_early(kind, domain.name, str(who))
        else:
            events.key_missed(kind, "waits")

    def _federates(self, kind: str, domain: TrustDomain, who: SpiffeId) -> bool:
        if kind == AGENT:
            return any(domain in entry.federates_with for entry in self._registry.entitled(who))
        if self._at != self._registry.revision:
            self._federating, self._at = _Federating.of(self._registry.every()), self._registry.revision
        return self._federating.has(who, domain)


@dataclass(frozen=True, slots=True)
class _Federating:
    """The identities whose entries federate with others, looked up once a change: a stranger chooses how often."""

    named: dict[SpiffeId, set[TrustDomain]] = field(default_factory=lambda: defaultdict(set))
    templates: list[tuple[PathTemplate, frozenset[TrustDomain]]] = field(default_factory=list)

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> _Federating:
        made = cls()
        for entry in entries:
            if entry.federates_with and entry.template:
                made.templates.append((PathTemplate.parse(entry.template), frozenset(entry.federates_with)))
            elif entry.federates_with:
                made.named[entry.spiffe_id].update(entry.federates_with)
        return made

    def has(self, who: SpiffeId, domain: TrustDomain) -> bool:
        """Whether an entry gives *who* the bundle of *domain*."""
        return domain in self.named.get(who, ()) or any(
            domain in domains and template.selectors(who.path) is not None for template, domains in self.templates
        )
