"""Who calls, as frozen values: those whom a rule means, and those who are revoked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address, ip_network
from types import MappingProxyType

from ringfence.certs.spiffe_id import TrustDomain
from ringfence.policy.identities import Identity


def within(cidrs: tuple[str, ...], address: str, *, unknown: bool) -> bool:
    """Whether an IP address is in one of *cidrs*, or there are none; *unknown* where the address is empty."""
    if not cidrs:
        return True
    if not address:
        return unknown
    return any(ip_address(address) in ip_network(cidr) for cidr in cidrs)


@dataclass(frozen=True, slots=True)
class Source:
    """Callers: one workload, or (identity None) every workload of a namespace, or (both None) every one of the mesh.

    With a trust domain, which is not the mesh's, everybody of that one; an identity may be of another one by itself.
    """

    identity: Identity | None
    namespace: str | None
    trust_domain: TrustDomain | None = None
    cidrs: tuple[str, ...] = ()  # where they must call from beside being who they are; empty: anywhere

    def admits(self, address: str, *, unknown: bool) -> bool:
        """Whether they may call from that IP address; *unknown* where it is empty."""
        return within(self.cidrs, address, unknown=unknown)

    def foreign(self, own: TrustDomain) -> TrustDomain | None:
        """The other trust domain that the callers are of; None for callers of *own*."""
        named = self.identity.trust_domain if self.identity is not None else self.trust_domain
        return named if named != own else None


@dataclass(frozen=True, slots=True)
class RevokedCaller:
    """A caller that is revoked as a whole, or of whom single certificates are."""

    whole: bool
    serials: frozenset[str]  # 32 lower-case hex digits each
    newest: int  # when the last of it was revoked, Unix seconds
    ends: datetime | None = field(default=None, compare=False)  # when its last certificate does; None: not known

    def in_force(self, now: datetime) -> bool:
        """Whether it matters still: a certificate that has ended is refused by its date."""
        return self.whole or self.ends is None or now < self.ends


NOBODY: Mapping[str, RevokedCaller] = MappingProxyType({})  # what is revoked where nothing is
