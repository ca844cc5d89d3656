"""The names that documents refer to each other by: what they lead to, and what is said of those that lead nowhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.policy.callers import Source
from ringfence.policy.externals import External, ExternalPort
from ringfence.policy.findings import Findings, did_you_mean
from ringfence.policy.model import Destination, Mesh, Port, Protocol, Workload
from ringfence.policy.parse import Parsed
from ringfence.policy.part import DestinationRef
from ringfence.policy.rule_document import SourceRef
from ringfence.policy.tokens import TokenIssuer
from ringfence.policy.wildcard import owner

Steps = tuple[str | int, ...]  # from a document's root to a value


@dataclass(frozen=True, slots=True)
class Names:
    """What rules may name. `unread` holds what is declared but has errors of its own; None: some file is unreadable."""

    mesh: Mesh
    workloads: Mapping[str, Workload]
    externals: Mapping[str, External]
    unread: frozenset[str] | None = field(default_factory=frozenset)
    issuers: Mapping[str, TokenIssuer] = field(default_factory=dict)  # of tokens

    def excuses(self, key: str) -> bool:
        """Whether *key* may well be declared where an error already says why it is not known."""
        return self.unread is None or key in self.unread


@dataclass(frozen=True, slots=True)
class References:
    """What the references of one document lead to; what leads nowhere is noted and gives None."""

    parsed: Parsed
    names: Names
    findings: Findings

    def source(self, at: Steps, ref: SourceRef) -> Source | None:
        """The callers that the reference at *at* means."""
        found = self._callers(at, ref)
        return replace(found, cidrs=tuple(sorted(set(ref.cidrs)))) if found is not None and ref.cidrs else found

    def _callers(self, at: Steps, ref: SourceRef) -> Source | None:
        if ref.all:
            return Source(None, None)
        if ref.trust_domain is not None:
            return self._foreign((*at, "trustDomain"), Source(None, None, TrustDomain(ref.trust_domain)))
        if ref.id is not None:
            return self._foreign((*at, "id"), Source(SpiffeId.parse(ref.id), None))
        namespace = ref.namespace or self.parsed.namespace
        if ref.workload is None:
            known = {workload.namespace for workload in self.names.workloads.values()}
            if namespace not in known and not self._excused(f"{namespace}/"):
                self._unknown((*at, "namespace"), f"namespace {namespace!r}", namespace, known)
            return Source(None, namespace)
        key = f"{namespace}/{ref.workload}"
        if key not in self.names.workloads:
            if not self.names.excuses(key):
                self._unknown((*at, "workload"), f"workload {key!r}", key, self.names.workloads)
            return None
        return Source(self.names.workloads[key].identity, None)

    def _foreign(self, at: Steps, source: Source) -> Source | None:
        """Our own workloads are named by what declares them, so that a name that nobody has is noted."""
        if source.foreign(self.names.mesh.trust_domain) is None:
            self.findings.add("RF1212", self.parsed.node.at(*at), "this is the mesh's own trust domain")
            return None
        return source

    def server_names(self, asked: Sequence[str], found: Iterable[Destination]) -> tuple[str, ...]:
        """The names that a rule to these destinations asks for; one that none of them means is noted."""
        externals = self.names.externals
        led = {destination.key for destination in found if destination.key in externals}
        for index, name in enumerate(asked if led else ()):
            owned = owner(externals.values(), name)
            if owned is None or owned.key not in led:
                what = f"{name} is no name of {' or '.join(sorted(externals[key].host for key in led))}"
                whose = f"; it is {owned.key}'s" if owned is not None else ""
                self.findings.add("RF1219", self.parsed.node.at("spec", "serverNames", index), what + whose)
        return tuple(sorted(set(asked)))

    def destination(self, at: Steps, ref: DestinationRef) -> Destination | None:
        """The port that the reference at *at* means."""
        kind = "workload" if ref.workload is not None else "external"
        key = f"{ref.namespace or self.parsed.namespace}/{ref.workload or ref.external}"
        known: Mapping[str, Workload] | Mapping[str, External]
        known = self.names.workloads if kind == "workload" else self.names.externals
        if key not in known:
            if not self.names.excuses(key):
                self._unknown((*at, kind), f"{kind} {key!r}", key, known)
            return None
        thing = known[key]
        port = self._port(at, ref, key, thing.serves if isinstance(thing, Workload) else thing.ports)
        return Destination(key, port) if port is not None else None

    def _port(
        self, at: Steps, ref: DestinationRef, key: str, ports: tuple[Port, ...] | tuple[ExternalPort, ...]
    ) -> str | None:
        place = self.parsed.node.at(*at, "port")
        by_name = {port.name: port for port in ports}
        if ref.port is None and len(ports) != 1:
            choice = f"Add port: {' or '.join(sorted(by_name))}" if ports else f"Declare what {key} serves"
            self.findings.add("RF1204", place, f"{key} serves {len(ports)} ports, and the rule names none", choice)
            return None
        found = ports[0] if ref.port is None else by_name.get(ref.port)
        if found is None:
            self.findings.add(
                "RF1203", place, f"{key} serves no port {ref.port!r}", did_you_mean(ref.port or "", by_name)
            )
            return None
        if found.protocol is not Protocol.GRPC and self._has("grpc"):
            self.findings.add(
                "RF1211",
                self.parsed.node.key_at("spec", "grpc"),
                f"{key} speaks {found.protocol.value} on port {found.name!r}, so there are no gRPC calls",
            )
        if self._has("serverNames") and not (ref.external is not None and self.names.externals[key].dynamic):
            place = self.parsed.node.key_at("spec", "serverNames")
            self.findings.add("RF1218", place, f"callers of {key} cannot ask for one of several names")
        if ref.external is not None and self._narrows():
            place = self.parsed.node.key_at("spec", "from")
            self.findings.add("RF1214", place, f"calls to {key}, outside, are judged where they begin: from loopback")
        if ref.external is not None and self._has("jwt"):
            place = self.parsed.node.key_at("spec", "jwt")
            self.findings.add("RF1213", place, f"a token that is shown to {key}, outside, is not for us to judge")
        if not found.protocol.is_http and self._has("jwt"):
            what = f"{key} speaks {found.protocol.value} on port {found.name!r}, so tokens cannot be seen"
            self.findings.add("RF1205", self.parsed.node.key_at("spec", "jwt"), what)
        if not found.protocol.is_http and self._has("http"):
            self.findings.add(
                "RF1205",
                self.parsed.node.key_at("spec", "http"),
                f"{key} speaks {found.protocol.value} on port {found.name!r}, so methods and paths cannot be seen",
            )
        return found.name

    def _has(self, field: str) -> bool:
        spec = self.parsed.node.child("spec")
        return spec is not None and spec.child(field) is not None

    def _narrows(self) -> bool:
        spec = self.parsed.node.child("spec") or self.parsed.node
        return any(source.child("cidrs") is not None for _, source in spec.items("from"))

    def _excused(self, prefix: str) -> bool:
        return self.names.unread is None or any(key.startswith(prefix) for key in self.names.unread)

    def _unknown(self, steps: Steps, what: str, word: str, known: Mapping[str, object] | set[str]) -> None:
        self.findings.add(
            "RF1202", self.parsed.node.at(*steps), f"no document declares the {what}", did_you_mean(word, known)
        )
