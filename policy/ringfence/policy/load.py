"""Texts of intent documents as one model, or everything that is wrong with them at once."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from ringfence.certs.spiffe_id import TrustDomain
from ringfence.policy.documents import MeshDocument, WorkloadDocument
from ringfence.policy.external_document import ExternalDocument
from ringfence.policy.externals import External
from ringfence.policy.fabric_document import FabricDocument, FabricGrantDocument
from ringfence.policy.fabric_lint import lint_fabrics
from ringfence.policy.fabric_rules import grant_of
from ringfence.policy.fabrics import Fabric, FabricGrant
from ringfence.policy.findings import Finding, Findings
from ringfence.policy.health import lint_health
from ringfence.policy.identities import Identity
from ringfence.policy.lint import lint
from ringfence.policy.meaning import (
    digest,
    external_meaning,
    fabric_meaning,
    grant_meaning,
    issuer_meaning,
    mesh_meaning,
    revision,
    traffic_meaning,
    workload_meaning,
)
from ringfence.policy.model import Destination, Mesh, Model, Origin, Rule, Workload
from ringfence.policy.parse import Parsed, parse_files
from ringfence.policy.plaintext import lint_plaintext
from ringfence.policy.references import Names
from ringfence.policy.resolve import Reader, external_of, mesh_of, selectors_of, workload_of
from ringfence.policy.routes import lint_routes
from ringfence.policy.rule_document import AllowDocument, DenyDocument
from ringfence.policy.rules import check_references, rule_of
from ringfence.policy.token_document import TokenIssuerDocument
from ringfence.policy.token_rules import issuer_of
from ringfence.policy.traffic import Traffic
from ringfence.policy.traffic_document import TrafficDocument
from ringfence.policy.traffic_rules import by_port, traffic_of

# What documents name by `caFile` and `jwksFile` may be given among the texts, so that a server need not read files.
_ATTACHMENTS = (".pem", ".crt", ".cer", ".jwks")
_UNREADABLE = frozenset({"RF1001", "RF1002", "RF1003", "RF1004", "RF1006", "RF1101"})


@dataclass(frozen=True, slots=True)
class LoadedDocument:
    """One document of a good set: what it is called, the hash of all it says but comments, and its place."""

    kind: str
    key: str
    hash: str
    origin: Origin = field(compare=False)

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The model, or None where any finding is an error; the documents, sorted, of a model."""

    model: Model | None
    findings: tuple[Finding, ...]
    documents: tuple[LoadedDocument, ...]


def load_documents(
    texts: Sequence[tuple[str, str | bytes]],
    *,
    default_trust_domain: TrustDomain | str | None = None,
    now: datetime | None = None,
    read: Reader | None = None,
    federated: Container[TrustDomain] | None = None,
) -> Loaded:
    """What *texts*, pairs of path and text, mean together; never raises for what they hold.

    Texts whose path ends in .pem, .crt or .cer are certificates for `caFile`, and in .jwks keys for `jwksFile`; what is
    not among them is asked of *read*, or noted where there is none. *now* (UTC) lets expired rules be noted. The trust
    domain is the Mesh document's, else *default_trust_domain*. *federated*, where known, are those whose bundles there
    are.
    """
    findings = Findings()
    documents = [pair for pair in texts if not pair[0].endswith(_ATTACHMENTS)]
    parsed = _unique(parse_files(documents, findings), findings)
    mesh = _mesh(parsed, default_trust_domain, findings)
    names = _names(parsed, mesh, _reader(texts, read), findings)
    rules = _rules(parsed, names, findings)
    traffic = _traffic(parsed, names, findings)
    fabrics, grants = _fabrics(parsed, names, now, findings)
    lint(names, rules, now, findings, federated)
    lint_plaintext(names.workloads.values(), rules, now, findings)
    lint_routes(traffic.values(), rules, mesh.trust_domain, findings)
    if findings.failed:
        return Loaded(None, findings.in_order(), ())
    model = Model(
        mesh,
        MappingProxyType(names.workloads),
        MappingProxyType(names.externals),
        rules,
        revision(
            mesh,
            names.workloads.values(),
            names.externals.values(),
            rules,
            traffic.values(),
            names.issuers.values(),
            fabrics.values(),
            grants.values(),
        ),
        traffic=MappingProxyType(traffic),
        issuers=MappingProxyType(names.issuers),
        fabrics=MappingProxyType(fabrics),
        fabric_grants=MappingProxyType(grants),
    )
    lint_health(model, now, findings)
    return Loaded(model, findings.in_order(), _listed(parsed, model))


def _unique(parsed: tuple[Parsed, ...], findings: Findings) -> tuple[Parsed, ...]:
    """Drops what is declared twice: workloads and external hosts share their names, and so do Allow and Deny."""
    first: dict[tuple[str, str], Parsed] = {}
    for one in parsed:
        group = {"Workload": "thing", "External": "thing", "Allow": "rule", "Deny": "rule"}.get(one.kind, one.kind)
        place = (group, one.key if group != "Mesh" else "")
        before = first.setdefault(place, one)
        if before is not one and group == "Mesh":
            findings.add("RF1207", one.origin, f"a Mesh is declared in {before.origin} already")
        elif before is not one and one.name:
            findings.add(
                "RF1201", one.node.at("metadata", "name"), f"{one.key!r} is declared in {before.origin} already"
            )
    return tuple(first.values())


def _mesh(parsed: tuple[Parsed, ...], default: TrustDomain | str | None, findings: Findings) -> Mesh:
    found = next((one for one in parsed if one.kind == "Mesh"), None)
    document = found.document if found is not None and isinstance(found.document, MeshDocument) else None
    if document is not None:
        return mesh_of(document, TrustDomain(document.spec.trust_domain))
    if default is not None:
        return mesh_of(None, default if isinstance(default, TrustDomain) else TrustDomain(default))
    if found is None:
        place = parsed[0].origin if parsed else Origin("", 1)
        findings.add("RF1208", place, "no document declares the trust domain")
    return mesh_of(None, TrustDomain("unknown.invalid"))  # there is an error already: only to check the rest


def _names(parsed: tuple[Parsed, ...], mesh: Mesh, read: Reader, findings: Findings) -> Names:
    workloads: dict[str, Workload] = {}
    externals: dict[str, External] = {}
    for one in sorted(parsed, key=lambda p: p.key):
        if isinstance(one.document, WorkloadDocument):
            workloads[one.key] = workload_of(one.document, one, mesh, findings)
        elif one.kind == "Workload":
            selectors_of(one, findings)
        elif isinstance(one.document, ExternalDocument):
            externals[one.key] = external_of(one.document, one, read, findings)
    _check_jobs(workloads.values(), findings)
    unread = frozenset(one.key for one in parsed if one.document is None)
    signing = [
        issuer_of(one.document, one, read, findings) for one in parsed if isinstance(one.document, TokenIssuerDocument)
    ]
    lost = any(finding.code in _UNREADABLE for finding in findings.found)
    issuers = {issuer.key: issuer for issuer in sorted(signing, key=lambda one: one.key)}
    return Names(mesh, workloads, externals, None if lost else unread, issuers)


def _check_jobs(workloads: Iterable[Workload], findings: Findings) -> None:
    """An identity is that of one workload: of a job too, which two workloads would share."""
    first: dict[Identity, Workload] = {}
    for workload in workloads:
        if (other := first.setdefault(workload.identity, workload)) is not workload:
            what = f"{workload.key} and {other.key} would both be the ranks of the job {workload.job!r}"
            findings.add("RF1220", workload.origin, what)


def _rules(parsed: tuple[Parsed, ...], names: Names, findings: Findings) -> tuple[Rule, ...]:
    rules: list[Rule] = []
    for one in parsed:
        if isinstance(one.document, AllowDocument | DenyDocument):
            rules.append(rule_of(one.document, one, names, findings))
        elif one.kind in {"Allow", "Deny"}:
            check_references(one, names, findings)
    return tuple(sorted(rules, key=lambda rule: rule.id))


def _traffic(parsed: tuple[Parsed, ...], names: Names, findings: Findings) -> dict[Destination, Traffic]:
    found = (
        traffic_of(one.document, one, names, findings) for one in parsed if isinstance(one.document, TrafficDocument)
    )
    return by_port((traffic for traffic in found if traffic is not None), findings)


def _fabrics(
    parsed: tuple[Parsed, ...], names: Names, now: datetime | None, findings: Findings
) -> tuple[dict[str, Fabric], dict[str, FabricGrant]]:
    ordered = sorted(parsed, key=lambda one: one.key)
    fabrics = {one.key: one.document.meant(one.origin) for one in ordered if isinstance(one.document, FabricDocument)}
    found = (
        grant_of(one.document, one, names, fabrics, findings)
        for one in ordered
        if isinstance(one.document, FabricGrantDocument)
    )
    grants = {grant.key: grant for grant in found if grant is not None}
    namespaces = frozenset(workload.namespace for workload in names.workloads.values())
    lint_fabrics(fabrics, grants.values(), namespaces, now, findings)
    return fabrics, grants


def _reader(texts: Sequence[tuple[str, str | bytes]], read: Reader | None) -> Reader:
    given = {path: text for path, text in texts if path.endswith(_ATTACHMENTS)}

    def find(path: str) -> str:
        if path in given:
            text = given[path]
            return text if isinstance(text, str) else text.decode("utf-8")
        if read is None:
            raise FileNotFoundError(2, "it was not given along with the documents", path)
        return read(path)

    return find


def _listed(parsed: tuple[Parsed, ...], model: Model) -> tuple[LoadedDocument, ...]:
    rules = {rule.id: [rule.hash, rule.owner, rule.reason] for rule in model.rules}
    traffic = {each.key: each for each in model.traffic.values()}
    meanings: Mapping[str, Callable[[str], object]] = {
        "Mesh": lambda _: mesh_meaning(model.mesh),
        "Workload": lambda key: workload_meaning(model.workloads[key]),
        "External": lambda key: external_meaning(model.externals[key]),
        "Allow": lambda key: rules[key],
        "Deny": lambda key: rules[key],
        "Traffic": lambda key: traffic_meaning(traffic[key]),
        "TokenIssuer": lambda key: issuer_meaning(model.issuers[key]),
        "Fabric": lambda key: fabric_meaning(model.fabrics[key]),
        "FabricGrant": lambda key: grant_meaning(model.fabric_grants[key], model.mesh.trust_domain),
    }
    listed = (LoadedDocument(one.kind, one.key, digest(meanings[one.kind](one.key)), one.origin) for one in parsed)
    return tuple(sorted(listed, key=str))
