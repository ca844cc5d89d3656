"""A registration entry: which identity is given to what, valid once built."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.path_template import PathTemplate
from ringfence.certs.selectors import NODE_KINDS, Selector
from ringfence.certs.spiffe_id import MAX_ID_BYTES, SERVER_NAME, SpiffeId, TrustDomain

DEFAULT_X509_TTL = 3600  # seconds, as SPIRE's
DEFAULT_JWT_TTL = 300
MAX_TTL = 7 * 24 * 3600
SERVER_PATH = "/ringfence/server"  # the parent of a node alias: an entry that names the nodes with its selectors
ANY_NODE = "/ringfence/nodes"  # a parent that every attested agent has
AGENT_PREFIX = "/ringfence/agent/"
SPIRE_SERVER_PATH = "/spire/server"  # by which SPIRE servers below know this one
API_ORIGIN = "api"
_MAX_HINT = 256
_LAST_SECOND = 253_402_300_799  # of the year 9999, as X.509 and RFC 3339 write it
_DNS = re.compile(r"(?=.{1,253})[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")


@dataclass(frozen=True, slots=True)
class Entry:
    """One registration. TTLs are seconds, 0 for the default; `origin` is "api" or the document's `namespace/name`."""

    id: str
    spiffe_id: SpiffeId
    parent_id: SpiffeId
    selectors: tuple[Selector, ...]  # sorted; all of them must hold
    x509_ttl: int = 0
    jwt_ttl: int = 0
    dns_names: tuple[str, ...] = ()
    hint: str = ""
    origin: str = API_ORIGIN
    created_at: int = 0
    revision: int = 0
    expires_at: int = 0  # Unix seconds from which it grants nothing any more, 0 for never
    federates_with: tuple[TrustDomain, ...] = ()  # sorted; whose bundles its holders are given
    admin: bool = False
    downstream: bool = False
    store_svid: bool = False
    jwt_jti: bool = False  # its JWT-SVIDs carry a jti
    template: str = ""  # a rule's path, `/ns/{k8s.ns}`; its spiffe_id is then that of the trust domain alone

    @property
    def name(self) -> str:
        """The identity that it gives, or the template of those that it gives."""
        return f"{self.spiffe_id}{self.template}"

    def has_ended(self, now: float) -> bool:
        """Whether it grants nothing any more at *now*, Unix seconds."""
        return 0 < self.expires_at <= now

    def instance(self, path: str) -> Entry:
        """What a rule says of one *path*; raises DENIED for a path that it does not make, and for what is no rule."""
        found = PathTemplate.parse(self.template).selectors(path) if self.template else None
        if found is None or path == SPIRE_SERVER_PATH:
            raise RingfenceError(Kind.DENIED, f"{path!r} is no instance of entry {self.id}")
        whole = tuple(sorted({*self.selectors, *found}))
        spiffe_id = SpiffeId(self.spiffe_id.trust_domain, path)
        return replace(self, spiffe_id=spiffe_id, selectors=whole, template="")

    @property
    def key(self) -> str:
        """What makes an entry the same one as another: origin, identity, parent and selectors (SHA-256, hex)."""
        parts = (self.origin, self.name, str(self.parent_id), *map(str, self.selectors))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def same_as(self, other: Entry) -> bool:
        """Whether nothing an operator wrote differs."""
        return replace(self, id="", created_at=0, revision=0) == replace(other, id="", created_at=0, revision=0)


@lru_cache(maxsize=16)
def any_node(trust_domain: TrustDomain) -> SpiffeId:
    """The parent that stands for every attested node."""
    return SpiffeId(trust_domain, ANY_NODE)


def check_entry(entry: Entry, trust_domain: TrustDomain) -> Entry:
    """*entry* itself; raises INVALID for one that could never be used or would reach into Ringfence's own names."""
    _check_names(entry, trust_domain)
    if not entry.selectors and not entry.template:
        raise RingfenceError(Kind.INVALID, f"{entry.spiffe_id} has no selector", hint="Give at least one --selector")
    if len(entry.name) > MAX_ID_BYTES:
        raise RingfenceError(Kind.INVALID, f"a SPIFFE ID has at most {MAX_ID_BYTES} bytes")
    if not (0 <= entry.x509_ttl <= MAX_TTL and 0 <= entry.jwt_ttl <= MAX_TTL):
        raise RingfenceError(Kind.INVALID, f"a TTL of {entry.spiffe_id} is out of range", hint="From 1 s to 7 days")
    _check_fields(entry, trust_domain)
    for name in entry.dns_names:
        if not _DNS.fullmatch(name):
            raise RingfenceError(Kind.INVALID, f"{name!r} is no DNS name", hint="Lower-case labels, no wildcard")
        if name == SERVER_NAME:
            raise RingfenceError(Kind.INVALID, f"{name} is the control plane's own name", hint="Choose another")
    return entry


def _check_fields(entry: Entry, trust_domain: TrustDomain) -> None:
    if not 0 <= entry.expires_at <= _LAST_SECOND:
        raise RingfenceError(Kind.INVALID, f"the end of {entry.spiffe_id} is no time", hint="Seconds since 1970")
    if trust_domain in entry.federates_with:
        raise RingfenceError(
            Kind.INVALID,
            f"{entry.spiffe_id} federates with its own trust domain {trust_domain}",
            hint="Leave it out: its bundle is given anyway",
        )
    if len(entry.hint) > _MAX_HINT or not entry.hint.isprintable():
        raise RingfenceError(
            Kind.INVALID, f"the hint of {entry.spiffe_id} is refused", hint=f"Up to {_MAX_HINT} printable characters"
        )


def _check_names(entry: Entry, trust_domain: TrustDomain) -> None:
    for spiffe_id in (entry.spiffe_id, entry.parent_id):
        if spiffe_id.trust_domain != trust_domain:
            raise RingfenceError(Kind.INVALID, f"{spiffe_id} is outside the trust domain {trust_domain}")
    if entry.template:
        PathTemplate.parse(entry.template)
    elif entry.spiffe_id.path in {"", SPIRE_SERVER_PATH} or entry.spiffe_id.is_reserved:
        raise RingfenceError(
            Kind.INVALID,
            f"{entry.spiffe_id} may not be registered",
            hint="Give it a path outside /ringfence/, such as /ns/NAMESPACE/sa/NAME",
        )
    _check_parent(entry, {selector.kind for selector in entry.selectors})


def _check_parent(entry: Entry, kinds: set[str]) -> None:
    path = entry.parent_id.path
    # A name outside /ringfence/ is an alias of nodes, which may come to be later.
    if (
        not path
        or entry.parent_id == entry.spiffe_id
        or (entry.parent_id.is_reserved and path not in {ANY_NODE, SERVER_PATH} and not path.startswith(AGENT_PREFIX))
    ):
        raise RingfenceError(
            Kind.INVALID,
            f"{entry.parent_id} is no node",
            hint="Leave --parent-id out, or name an agent's SPIFFE ID or a node alias",
        )
    if path == SERVER_PATH and (entry.template or not kinds <= NODE_KINDS):
        raise RingfenceError(
            Kind.INVALID,
            f"{entry.name} is a node alias, and not all of its selectors are nodes'",
            hint=f"Selectors of nodes start with one of: {', '.join(sorted(NODE_KINDS))}",
        )
    if path != SERVER_PATH and kinds & NODE_KINDS:
        raise RingfenceError(
            Kind.INVALID,
            f"{entry.name} asks a workload for what is true of nodes",
            hint=f"Make a node alias (--parent-id spiffe://{entry.parent_id.trust_domain}{SERVER_PATH}) its parent",
        )


def selectors_of(texts: Iterable[str]) -> tuple[Selector, ...]:
    """Selectors as an entry holds them: sorted, each once; raises INVALID."""
    return tuple(sorted({Selector.parse(text) for text in texts}))
