"""The authorities of the other servers of this trust domain, as each stored its own; with ours they are the bundle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ringfence.broker.store.authority import Kept
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.generations import Generations
from ringfence.certs.slot import X509Authority


@dataclass(frozen=True, slots=True)
class Others:
    """By server; they show and sign nothing here. Frozen: what another server publishes makes another one."""

    authorities: Mapping[str, Generations] = field(default_factory=dict)

    @classmethod
    def of(cls, kept: Mapping[str, Kept], me: str) -> Others:
        """Those of all servers but *me*; raises INVALID for one that cannot be read."""
        states = {server: one.state for server, one in kept.items() if server != me and one.state}
        return cls({server: Generations.shown(state) for server, state in states.items()})

    def merged(self, me: str, own: SpiffeBundle, sequence: int) -> SpiffeBundle:
        """*own* and all of theirs: the same bytes on every server, or agents that move would be sent it anew."""
        every = {server: authority.bundle(0) for server, authority in self.authorities.items()} | {me: own}
        bundles = [every[server] for server in sorted(every)]
        return replace(
            own,
            x509_authorities=tuple(dict.fromkeys(root for one in bundles for root in one.x509_authorities)),
            jwt_authorities={kid: key for one in bundles for kid, key in one.jwt_authorities.items()},
            wit_authorities={kid: key for one in bundles for kid, key in one.wit_authorities.items()},
            refresh_hint=min(one.refresh_hint for one in bundles),
            sequence=sequence,
        )

    @property
    def x509(self) -> Iterable[X509Authority]:
        """Every X.509 authority of theirs."""
        return (one for authority in self.authorities.values() for one in authority.x509.every())

    @property
    def tainted(self) -> frozenset[str]:
        """The ids of those whose SVIDs are to be renewed."""
        return frozenset().union(*(authority.tainted for authority in self.authorities.values()))
