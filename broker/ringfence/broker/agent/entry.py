"""One registration entry as the agent has it: whom it means, and what it gives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

from ringfence.agent.v1 import agent_pb2
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.path_template import PathTemplate
from ringfence.certs.selectors import Selector
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain


@dataclass(frozen=True, slots=True)
class Entry:
    """One registration: whoever has all of `selectors` is `spiffe_id`."""

    id: str
    spiffe_id: SpiffeId
    selectors: frozenset[Selector]
    x509_ttl: timedelta
    jwt_ttl: timedelta
    dns_names: tuple[str, ...]
    hint: str
    created_at: int
    expires_at: int = 0  # Unix seconds from which it grants nothing, 0 for never
    federates_with: tuple[TrustDomain, ...] = ()
    store_svid: bool = False
    template: PathTemplate | None = None  # of a rule; `spiffe_id` is then the trust domain's

    @classmethod
    def read(cls, message: agent_pb2.Entry) -> Entry:
        """From the wire; raises INVALID for a selector or an ID that this program doesn't know."""
        return cls(
            message.id,
            SpiffeId.parse(message.spiffe_id),
            frozenset(Selector.parse(text) for text in message.selectors),
            timedelta(seconds=message.x509_ttl),
            timedelta(seconds=message.jwt_ttl),
            tuple(message.dns_names),
            message.hint,
            message.created_at,
            message.expires_at,
            tuple(TrustDomain(name) for name in message.federates_with),
            message.store_svid,
            PathTemplate.parse(message.template) if message.template else None,
        )

    def write(self) -> agent_pb2.Entry:
        """As on the wire."""
        return agent_pb2.Entry(
            id=self.id,
            spiffe_id=str(self.spiffe_id),
            selectors=sorted(map(str, self.selectors)),
            x509_ttl=int(self.x509_ttl.total_seconds()),
            jwt_ttl=int(self.jwt_ttl.total_seconds()),
            dns_names=self.dns_names,
            hint=self.hint,
            created_at=self.created_at,
            expires_at=self.expires_at,
            federates_with=[domain.name for domain in self.federates_with],
            store_svid=self.store_svid,
            template=self.template.text if self.template else "",
        )

    @property
    def wanted(self) -> frozenset[str]:
        """The facts that it asks for, `k8s:ns`."""
        placeholders = self.template.placeholders if self.template else ()
        named = {f"{s.kind}:{s.value.partition(':')[0]}" for s in self.selectors}
        return frozenset(named | {each.wanted for each in placeholders})

    def has_ended(self, now: float) -> bool:
        """Whether it grants nothing any more at *now*, Unix seconds."""
        return 0 < self.expires_at <= now

    def instance(self, path: str) -> Entry | None:
        """What a rule says of one path, under the id `RULE#PATH`; None for a path that its template does not make."""
        found = self.template.selectors(path) if self.template else None
        if found is None:
            return None
        return replace(
            self,
            id=f"{self.id}#{path}",
            spiffe_id=SpiffeId(self.spiffe_id.trust_domain, path),
            selectors=self.selectors | found,
            template=None,
        )

    def instance_for(self, selectors: frozenset[Selector]) -> Entry:
        """What a rule says of a process that has *selectors*; raises INVALID when they do not fill its template."""
        path = self.template.path(selectors) if self.template else ""
        made = self.instance(path)
        if made is None:
            raise RingfenceError(Kind.INVALID, f"{path!r} is no instance of rule {self.id}")
        return made

    def is_reissued_by(self, other: Entry) -> bool:
        """Whether an SVID made for this entry no longer says what *other* says."""
        return self._content != other._content

    @property
    def _content(self) -> tuple[object, ...]:
        return self.spiffe_id, self.template, self.dns_names, self.x509_ttl, self.expires_at


def unique_hints(entries: Iterable[Entry]) -> list[tuple[Entry, str]]:
    """Each entry with its hint, which only the oldest of those that share it keeps (SPIFFE_Workload_API.md 5.2.1)."""
    seen: set[str] = set()
    found = []
    for entry in entries:
        found.append((entry, "" if entry.hint in seen else entry.hint))
        seen.add(entry.hint)
    return found
