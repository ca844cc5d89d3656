"""Allow and Deny documents as rules of the model: every name resolved, every mismatch noted."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from pydantic import ValidationError

from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.documents import AllowDocument, DenyDocument, DestinationRef, HttpRef, SourceRef
from ringfence.policy.findings import Findings, did_you_mean
from ringfence.policy.meaning import digest, rule_meaning, spelled_destination, spelled_source
from ringfence.policy.model import (
    Destination,
    Effect,
    External,
    ExternalPort,
    HttpMatch,
    Mesh,
    Mode,
    Port,
    Rule,
    Source,
    Workload,
)
from ringfence.policy.parse import Parsed
from ringfence.policy.paths import PathPattern

_HASH_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Names:
    """What rules may name. `unread` holds what is declared but has errors of its own; None: some file is unreadable."""

    mesh: Mesh
    workloads: Mapping[str, Workload]
    externals: Mapping[str, External]
    unread: frozenset[str] | None = field(default_factory=frozenset)

    def excuses(self, key: str) -> bool:
        """Whether *key* may well be declared where an error already says why it is not known."""
        return self.unread is None or key in self.unread


def rule_of(document: AllowDocument | DenyDocument, parsed: Parsed, names: Names, findings: Findings) -> Rule:
    """The rule that *document* means; references that lead nowhere are noted and left out."""
    spec, resolving = document.spec, _Resolving(parsed, names, findings)
    sources = {s for i, ref in enumerate(spec.sources) if (s := resolving.source(i, ref)) is not None}
    found = {d for i, ref in enumerate(spec.destinations) if (d := resolving.destination(i, ref)) is not None}
    domain = names.mesh.trust_domain
    rule = Rule(
        namespace=document.metadata.namespace,
        name=document.metadata.name,
        effect=Effect.ALLOW if isinstance(document, AllowDocument) else Effect.DENY,
        mode=Mode(spec.mode),
        sources=tuple(sorted(sources, key=lambda source: spelled_source(source, domain))),
        destinations=tuple(sorted(found, key=spelled_destination)),
        http=_http(spec.http or []),
        owner=spec.owner,
        reason=spec.reason,
        expires=spec.expires,
        hash="",
        origin=parsed.origin,
    )
    return replace(rule, hash=digest(rule_meaning(rule, domain))[:_HASH_DIGITS])


def check_references(parsed: Parsed, names: Names, findings: Findings) -> None:
    """Notes the references that lead nowhere in a rule that has errors elsewhere, so that all are seen at once."""
    resolving = _Resolving(parsed, names, findings)
    spec = parsed.node.child("spec") or parsed.node
    for index, node in spec.items("from"):
        with suppress(ValidationError):  # noted when the document was parsed
            resolving.source(index, SourceRef.model_validate(node.plain()))
    for index, node in spec.items("to"):
        with suppress(ValidationError):
            resolving.destination(index, DestinationRef.model_validate(node.plain()))


def _http(refs: list[HttpRef]) -> tuple[HttpMatch, ...]:
    found = {
        HttpMatch(frozenset(ref.methods or ()), tuple(sorted({PathPattern(path) for path in ref.paths or ()})))
        for ref in refs
    }
    return tuple(sorted(found, key=lambda match: (sorted(match.methods), match.paths)))


@dataclass(frozen=True, slots=True)
class _Resolving:
    parsed: Parsed
    names: Names
    findings: Findings

    def source(self, index: int, ref: SourceRef) -> Source | None:
        if ref.all:
            return Source(None, None)
        namespace = ref.namespace or self.parsed.namespace
        if ref.workload is None:
            known = {workload.namespace for workload in self.names.workloads.values()}
            if namespace not in known and not self._excused(f"{namespace}/"):
                self._unknown(("spec", "from", index, "namespace"), f"namespace {namespace!r}", namespace, known)
            return Source(None, namespace)
        key = f"{namespace}/{ref.workload}"
        if key not in self.names.workloads:
            if not self.names.excuses(key):
                self._unknown(("spec", "from", index, "workload"), f"workload {key!r}", key, self.names.workloads)
            return None
        return Source(SpiffeId(self.names.mesh.trust_domain, f"/ns/{namespace}/sa/{ref.workload}"), None)

    def destination(self, index: int, ref: DestinationRef) -> Destination | None:
        kind = "workload" if ref.workload is not None else "external"
        key = f"{ref.namespace or self.parsed.namespace}/{ref.workload or ref.external}"
        known: Mapping[str, Workload] | Mapping[str, External]
        known = self.names.workloads if kind == "workload" else self.names.externals
        if key not in known:
            if not self.names.excuses(key):
                self._unknown(("spec", "to", index, kind), f"{kind} {key!r}", key, known)
            return None
        thing = known[key]
        port = self._port(index, ref, key, thing.serves if isinstance(thing, Workload) else thing.ports)
        return Destination(key, port) if port is not None else None

    def _port(
        self, index: int, ref: DestinationRef, key: str, ports: tuple[Port, ...] | tuple[ExternalPort, ...]
    ) -> str | None:
        place = self.parsed.node.at("spec", "to", index, "port")
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
        if not found.protocol.is_http and self._looks_at_requests():
            self.findings.add(
                "RF1205",
                self.parsed.node.key_at("spec", "http"),
                f"{key} speaks {found.protocol.value} on port {found.name!r}, so methods and paths cannot be seen",
            )
        return found.name

    def _looks_at_requests(self) -> bool:
        spec = self.parsed.node.child("spec")
        return spec is not None and spec.child("http") is not None

    def _excused(self, prefix: str) -> bool:
        return self.names.unread is None or any(key.startswith(prefix) for key in self.names.unread)

    def _unknown(
        self, steps: tuple[str | int, ...], what: str, word: str, known: Mapping[str, object] | set[str]
    ) -> None:
        self.findings.add(
            "RF1202", self.parsed.node.at(*steps), f"no document declares the {what}", did_you_mean(word, known)
        )
