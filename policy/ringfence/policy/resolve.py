"""Documents of things (mesh, workloads, external hosts) as values of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from posixpath import dirname, join, normpath

from cryptography.x509 import load_pem_x509_certificates

from ringfence.certs.errors import RingfenceError
from ringfence.certs.selectors import NAMES, NODE_KINDS, Selector
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.policy.documents import MeshDocument, PlaintextRef, Serve, Ttl, WorkloadDocument
from ringfence.policy.external_document import ExternalDocument, HostPort
from ringfence.policy.externals import Dynamic, External, ExternalPort
from ringfence.policy.findings import Findings, did_you_mean
from ringfence.policy.forbidden import LOCALHOST, address_of, is_metadata, is_misspelt_address, metadata_below
from ringfence.policy.identities import Identity, Ranks
from ringfence.policy.model import Mesh, Origin, Port, Protocol, Workload
from ringfence.policy.parse import Parsed
from ringfence.policy.plaintext import Plaintext
from ringfence.policy.tree import Node

DEFAULT_X509_TTL = timedelta(hours=1)
DEFAULT_JWT_TTL = timedelta(minutes=5)

SelectorSets = tuple[tuple[Selector, ...], ...]  # alternatives; all selectors within one must hold
Reader = Callable[[str], str]  # the text of a file by its path; OSError when there is none


def mesh_of(document: MeshDocument | None, trust_domain: TrustDomain) -> Mesh:
    """The mesh, with the built-in lifetimes where the document gives none."""
    ttl = document.spec.defaults.ttl if document is not None else Ttl()
    return Mesh(trust_domain, ttl.x509 or DEFAULT_X509_TTL, ttl.jwt or DEFAULT_JWT_TTL)


def workload_of(document: WorkloadDocument, parsed: Parsed, mesh: Mesh, findings: Findings) -> Workload:
    """The workload that *document* means; wrong selectors and clashing ports are noted and left out."""
    spec, metadata = document.spec, document.metadata
    match, launch = selectors_of(parsed, findings)
    serves = spec.serves or ()
    _check_ports(serves, parsed.node, findings)
    return Workload(
        namespace=metadata.namespace,
        name=metadata.name,
        role=spec.role,
        identity=_identity(document, mesh),
        match=match,
        serves=tuple(_port(one, parsed.node.key_at("spec", "serves", i, "plaintext")) for i, one in enumerate(serves)),
        launch=launch,
        x509_ttl=spec.ttl.x509 or mesh.x509_ttl,
        jwt_ttl=spec.ttl.jwt or mesh.jwt_ttl,
        dns_names=tuple(dict.fromkeys(spec.dns_names or ())),
        origin=parsed.origin,
        rank=spec.rank or "",
    )


def _identity(document: WorkloadDocument, mesh: Mesh) -> Identity:
    metadata, job = document.metadata, document.spec.job
    if job is not None:
        return Ranks(mesh.trust_domain, metadata.namespace, job)
    return SpiffeId(mesh.trust_domain, f"/ns/{metadata.namespace}/sa/{metadata.name}")


def _port(serve: Serve, at: Origin) -> Port:
    first, last = serve.numbers
    plaintext = _plaintext(serve.plaintext, at) if serve.plaintext is not None else None
    most = serve.max_connections or 0
    return Port(serve.name, first, Protocol(serve.protocol), serve.socket or "", last, plaintext, most)


def _plaintext(ref: PlaintextRef, at: Origin) -> Plaintext:
    return Plaintext(ref.until, ref.owner, ref.reason, tuple(sorted(set(ref.sources or ()))), at)


def external_of(document: ExternalDocument, parsed: Parsed, read: Reader, findings: Findings) -> External:
    """The external host that *document* means; clashing ports and an unreadable CA are noted."""
    spec, metadata = document.spec, document.metadata
    _check_ports(spec.ports, parsed.node, findings)
    _check_place(spec.host.removeprefix("*."), "host", parsed.node, findings)
    dynamic = Dynamic(spec.dynamic.labels == "many", spec.dynamic.addresses == "private") if spec.dynamic else None
    if dynamic is not None and (led := metadata_below(spec.host.removeprefix("*"))):
        findings.add("RF1111", parsed.node.at("spec", "host"), f"{spec.host} also means {led}, a metadata service")
    if spec.address is not None:
        _check_place(host_of(spec.address), "address", parsed.node, findings)
    return External(
        namespace=metadata.namespace,
        name=metadata.name,
        host=spec.host,
        address=spec.address or "",
        ports=tuple(
            ExternalPort(p.name, p.port, Protocol(p.protocol), p.tls is True, p.tls == "passthrough")
            for p in spec.ports
        ),
        ca_pem=ca_of(spec.ca, spec.ca_file, parsed, read, findings),
        dynamic=dynamic,
        origin=parsed.origin,
    )


def host_of(address: str) -> str:
    """The host of `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`, without brackets."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    host, colon, number = address.rpartition(":")
    return host if colon and number.isdigit() and ":" not in host else address


def found_by_dns(external: External) -> bool:
    """Whether DNS says where *external* is: it is no address, nor this very host."""
    host = host_of(external.address or external.host)
    return address_of(host) is None and host != LOCALHOST


def selectors_of(parsed: Parsed, findings: Findings) -> tuple[SelectorSets, SelectorSets]:
    """What a workload's match and launch ask for; read from the tree, so that a broken document is checked too."""
    spec = parsed.node.child("spec") or parsed.node
    launch = spec.child("launch") or spec
    return _selector_sets(spec.child("match"), findings), _selector_sets(launch.child("by"), findings)


def _selector_sets(node: Node | None, findings: Findings) -> SelectorSets:
    if node is None or not isinstance(node.entries, list):
        return ()
    return tuple(sorted({_selectors(one, findings) for one in node.entries}))


def _selectors(node: Node, findings: Findings) -> tuple[Selector, ...]:
    entries = node.entries if isinstance(node.entries, dict) else {}
    made = (_selector(key, value, node, findings) for key, value in entries.items())
    return tuple(sorted({selector for selector in made if selector is not None}))


def _selector(key: str, value: Node, node: Node, findings: Findings) -> Selector | None:
    kind, _, fact = key.partition(".")
    place = node.keys[key]
    if kind == "launch":
        findings.add("RF1106", place, f"{key} is given by spec.launch, not by match", "Use spec.launch.by")
        return None
    if kind in NODE_KINDS:
        findings.add("RF1106", place, f"{key} is true of nodes, not of workloads", "Leave it out of match and by")
        return None
    known = {f"{name}.{one}" for name, facts in NAMES.items() for one in facts if name != "launch"}
    if key not in known:
        findings.add("RF1106", place, f"no attestor makes the selector {key!r}", did_you_mean(key, known))
        return None
    if isinstance(value.scalar, bool) or value.scalar is None:
        return None  # not text or a number: noted when the document was parsed
    try:
        return Selector.parse(f"{kind}:{fact}:{value.scalar}")
    except RingfenceError as error:
        findings.add("RF1106", value.origin, error.detail, error.hint)
        return None


def _check_ports(ports: Sequence[Serve | HostPort], node: Node, findings: Findings) -> None:
    field = "serves" if node.at("spec", "serves") != node.at("spec") else "ports"
    seen: set[tuple[str, str | int]] = set()
    for index, port in enumerate(ports):
        taken = sorted(set(_facts(port)) & seen)
        for what, value in taken[:1]:
            place = node.at("spec", field, index)
            findings.add("RF1206", place, f"{what} {value!r} is taken by another port of this document")
        seen |= set(_facts(port))


def _facts(port: Serve | HostPort) -> Iterator[tuple[str, str | int]]:
    """What no other port of the document may have: its name, its numbers, its socket."""
    yield "name", port.name
    if isinstance(port, HostPort):
        yield "port", port.port
        return
    first, last = port.numbers
    yield from (("port", number) for number in range(first, max(first, last) + 1) if number)
    if port.socket is not None:
        yield "socket", port.socket


def _check_place(host: str, field: str, node: Node, findings: Findings) -> None:
    place = node.at("spec", field)
    if is_metadata(host):
        findings.add("RF1111", place, f"{host} is a cloud's metadata service")
    elif is_misspelt_address(host):
        findings.add("RF1105", place, f"{host} would be an address to some and a name to others", "Write a.b.c.d")


def ca_of(inline: str | None, file: str | None, parsed: Parsed, read: Reader, findings: Findings) -> str:
    """The certificates of a document's `ca` or `caFile`; empty where it has neither."""
    pem, place = inline or "", parsed.node.at("spec", "ca")
    if file is not None:
        place = parsed.node.at("spec", "caFile")
        path = beside(parsed, file)
        try:
            pem = read(path)
        except (OSError, UnicodeError, ValueError) as error:
            findings.add("RF1109", place, f"cannot read {path}: {reason(error)}")
            return ""
    if pem:
        try:
            load_pem_x509_certificates(pem.encode())
        except ValueError:
            findings.add("RF1109", place, "there is no PEM certificate here")
    return pem


def beside(parsed: Parsed, file: str) -> str:
    """The path of a *file* that a document names, as seen from where the document was read."""
    return normpath(join(dirname(parsed.origin.path), file))


def reason(error: Exception) -> str:
    """Why a file could not be read."""
    return (error.strerror or "no such file") if isinstance(error, OSError) else "it is not text"
