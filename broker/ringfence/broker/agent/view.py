"""What one caller is entitled to at one moment, and the bundles that it may see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from ringfence.broker.agent.entry import Entry
from ringfence.broker.agent.svids import HeldSvid
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.spiffe_id import TrustDomain


@dataclass(frozen=True, slots=True)
class Bundles:
    """The trust domain's bundle and revocation lists, and bundles of others; the number changes with any of them."""

    own: SpiffeBundle
    federated: Mapping[TrustDomain, SpiffeBundle]
    version: int
    crls: tuple[bytes, ...] = ()

    @property
    def key(self) -> tuple[object, ...]:
        """Equal keys, equal bundles."""
        return (self.version, *self.federated)

    def of(self, entries: Iterable[Entry]) -> Bundles:
        """What the holder of *entries* may see: our own bundle, and those that one of the entries federates with."""
        if not self.federated:
            return self
        named = {domain for entry in entries for domain in entry.federates_with}
        return replace(self, federated={td: bundle for td, bundle in self.federated.items() if td in named})

    @property
    def all(self) -> dict[TrustDomain, SpiffeBundle]:
        """Every bundle by its trust domain, sorted."""
        return dict(sorted({**self.federated, self.own.trust_domain: self.own}.items()))


@dataclass(frozen=True)
class View:
    """What one caller is entitled to at one moment; `held` lacks entries whose SVID is not there yet."""

    entries: tuple[Entry, ...]
    held: tuple[tuple[Entry, HeldSvid], ...] = field(repr=False)
    bundles: Bundles = field(repr=False)
    waits: bool  # some entry's SVID is still to come

    @cached_property
    def key(self) -> tuple[object, ...]:
        """Equal keys, equal answers."""
        return (self.bundles.key, tuple((entry.id, entry.hint, svid.serial) for entry, svid in self.held))

    @property
    def entitled(self) -> tuple[object, ...]:
        """Equal while no bundle and no entitlement changes, whatever SVIDs do."""
        return (self.bundles.key, bool(self.entries))
