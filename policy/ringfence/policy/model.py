"""The checked, frozen meaning of a set of intent documents: what everything later is compiled from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.selectors import Selector
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.policy.callers import NOBODY, RevokedCaller, Source
from ringfence.policy.headers import HeaderMatch
from ringfence.policy.identities import Identity, Ranks, covers, ranks_of
from ringfence.policy.paths import PathPattern
from ringfence.policy.tokens import TokenIssuer, TokenMatch

if TYPE_CHECKING:
    from ringfence.policy.externals import External
    from ringfence.policy.fabrics import Fabric, FabricGrant
    from ringfence.policy.plaintext import Plaintext
    from ringfence.policy.traffic import Traffic

# Names of the decisions that no rule makes; a rule's id always holds a slash, so they never clash.
DEFAULT_DENY = "default-deny"
NOT_ONE_URI = "not-one-uri"
NOT_MTLS = "not-mtls"
NO_DENY = "none"
REVOKED = "revoked"
FORBIDDEN_ADDRESS = "forbidden-address"
CONNECTION_LIMITED = "connection-limited"


def named(name: str) -> str:
    """The policy id of a decision that no rule makes: `default-deny@builtin`."""
    return f"{name}@builtin"


class Protocol(Enum):
    """What a port speaks; it decides whether rules may look at requests or at connections only."""

    HTTP = "http"
    HTTP2 = "http2"
    GRPC = "grpc"
    TCP = "tcp"
    POSTGRES = "postgres"

    @property
    def is_http(self) -> bool:
        """Whether each request is judged (HTTP, gRPC) rather than each connection."""
        return self is Protocol.HTTP or self.is_http2

    @property
    def is_http2(self) -> bool:
        """Whether HTTP/2 is spoken from the caller to the workload, and nothing else."""
        return self in {Protocol.HTTP2, Protocol.GRPC}


class Effect(Enum):
    """What a rule does when it matches; a deny wins over every allow."""

    ALLOW = "allow"
    DENY = "deny"


class Mode(Enum):
    """Whether a rule is enforced, or judged and recorded only."""

    ENFORCE = "enforce"
    SHADOW = "shadow"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where something was written: a file as the operator named it, line and column from 1."""

    path: str
    line: int
    column: int = 1

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True, slots=True)
class Port:
    """A port that a workload serves; `socket` is a file name in its private folder and replaces the number.

    With `last` it is a range of ports, `number` the first of them: one name, one policy and one listener for all.
    """

    name: str
    number: int
    protocol: Protocol
    socket: str = ""
    last: int = 0
    plaintext: Plaintext | None = None  # while it also takes callers without mutual TLS
    max_connections: int = 0  # that its proxy keeps open at once; 0: any number

    @property
    def numbers(self) -> range:
        """Every port number; none for a socket."""
        return range(self.number, max(self.number, self.last) + 1) if self.number else range(0)


@dataclass(frozen=True, slots=True)
class Workload:
    """Something that has an identity, may serve ports and may call others."""

    namespace: str
    name: str
    role: str
    identity: Identity  # of a job the ranks'
    match: tuple[tuple[Selector, ...], ...]  # alternatives; all selectors within one must hold
    serves: tuple[Port, ...]
    launch: tuple[tuple[Selector, ...], ...]  # alternatives of who may vouch for it
    x509_ttl: timedelta
    jwt_ttl: timedelta
    dns_names: tuple[str, ...]
    origin: Origin = field(compare=False)
    rank: str = ""  # of a job with `match`: which selector holds the rank, as a placeholder of a path has it

    @property
    def key(self) -> str:
        """`namespace/name`, unique in the model."""
        return f"{self.namespace}/{self.name}"

    @property
    def spiffe_id(self) -> SpiffeId:
        """The identity of one that is no job, or that is taken as one rank of it; raises INVALID for all of a job."""
        if isinstance(self.identity, Ranks):
            raise RingfenceError(Kind.INVALID, f"{self.key} is a job: each of its ranks has an identity of its own")
        return self.identity

    @property
    def path(self) -> str:
        """The path of its identity, or the template of those of its ranks."""
        return self.identity.template("launch.rank") if isinstance(self.identity, Ranks) else self.identity.path

    @property
    def job(self) -> str:
        """Whose ranks its processes are; empty where it is no job."""
        ranks = self.identity if isinstance(self.identity, Ranks) else ranks_of(self.identity)
        return ranks.job if ranks is not None else ""

    def is_of(self, spiffe_id: Identity) -> bool:
        """Whether *spiffe_id* is its identity, or that of one of its ranks."""
        return covers(self.identity, spiffe_id)

    def port(self, name: str) -> Port | None:
        """The served port of that name."""
        return next((port for port in self.serves if port.name == name), None)


@dataclass(frozen=True, slots=True)
class HttpMatch:
    """A request matches when its method and path are among these and it has all headers; empty does not restrict."""

    methods: frozenset[str]
    paths: tuple[PathPattern, ...]
    headers: tuple[HeaderMatch, ...] = ()


@dataclass(frozen=True, slots=True)
class Destination:
    """One port of one workload or external host, by `key` and port name."""

    key: str
    port: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One Allow or Deny, resolved; `hash` covers its own meaning alone, not comments, reasons or neighbours."""

    namespace: str
    name: str
    effect: Effect
    mode: Mode
    sources: tuple[Source, ...]
    destinations: tuple[Destination, ...]
    http: tuple[HttpMatch, ...]  # alternatives; empty does not restrict
    owner: str
    reason: str
    expires: datetime | None
    hash: str  # 12 hex digits
    origin: Origin = field(compare=False)
    token: TokenMatch | None = None  # what it asks of an end user's token, beside all else
    # Where callers without an identity come from whom it means as well: anywhere where empty. None: it means none.
    plaintext: tuple[str, ...] | None = None
    # Which of the names below a host's star are asked for, sorted; `*.a.b` as well. Empty: any of them.
    server_names: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """`namespace/name`, unique among rules."""
        return f"{self.namespace}/{self.name}"

    @property
    def policy_id(self) -> str:
        """The name that enforcement points carry: `RULE-ID@HASH`."""
        return f"{self.id}@{self.hash}"


@dataclass(frozen=True, slots=True)
class Mesh:
    """What holds for the whole mesh."""

    trust_domain: TrustDomain
    x509_ttl: timedelta
    jwt_ttl: timedelta


@dataclass(frozen=True, slots=True)
class Model:
    """Everything that intent means; `revision` is the content hash of the whole (64 hex digits)."""

    mesh: Mesh
    workloads: Mapping[str, Workload]  # by key
    externals: Mapping[str, External]  # by key
    rules: tuple[Rule, ...]  # sorted by id
    revision: str
    # By SPIFFE ID. An operator's act beside the intent and no part of `revision`.
    revoked: Mapping[str, RevokedCaller] = field(default_factory=lambda: NOBODY)
    # Key ids of X.509 authorities that are tainted. When that changes, what was opened before is to end.
    tainted: frozenset[str] = frozenset()
    traffic: Mapping[Destination, Traffic] = field(default_factory=lambda: MappingProxyType({}))  # at most one a port
    issuers: Mapping[str, TokenIssuer] = field(default_factory=lambda: MappingProxyType({}))  # of tokens, by key
    fabrics: Mapping[str, Fabric] = field(default_factory=lambda: MappingProxyType({}))  # by key
    fabric_grants: Mapping[str, FabricGrant] = field(default_factory=lambda: MappingProxyType({}))  # by key

    def workload_of(self, spiffe_id: Identity) -> Workload | None:
        """The workload with that identity, or with that one of a rank."""
        return next((w for w in self.workloads.values() if w.is_of(spiffe_id)), None)
