"""What a server is told at start: flags over environment over TOML file over defaults, checked once, then frozen."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ringfence.broker.address import MAX_SOCKET_PATH, Address
from ringfence.broker.audit.journal import DEFAULT_ROTATE
from ringfence.broker.keys.choice import KeyChoice
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

if TYPE_CHECKING:  # agents read this module too, and have no database
    from ringfence.broker.access.access import AccessConfig
    from ringfence.broker.nested.choice import AboveChoice
    from ringfence.broker.store.location import Location
    from ringfence.certs.upstream import Upstream

DATABASE, ADMIN_SOCKET, BUNDLE, LOCK = "ringfence.sqlite3", "admin.sock", "bundle.pem", "lock"
ISSUER_KEYS = "issuer-keys.json"


@dataclass(frozen=True, slots=True)
class Web:
    """Where strangers are served, and the certificate and key files.

    Without files OIDC discovery is plain, on loopback only, and the bundle endpoint shows the server's own SVID.
    """

    listen: Address
    files: tuple[Path, Path] | None = None


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Everything `ringfence server run` can be told."""

    trust_domain: TrustDomain
    data_dir: Path
    listen: Address
    database: Location | None = None  # None: a file of SQLite in data_dir
    intent: Path | None = None
    admin_socket: Path | None = None
    http_listen: Address | None = None
    otlp_listen: Address | None = None
    otlp_forward: str = ""
    oidc: Web | None = None
    oidc_issuer: str = ""
    bundle_endpoint: Web | None = None
    ca_ttl: timedelta = timedelta(hours=24)
    ledger_retention: timedelta = timedelta(hours=24)  # past the end of an SVID
    audit_rotate_bytes: int = DEFAULT_ROTATE
    x509pop_ca: tuple[Path, ...] = ()  # PEM files; none: no node attests by certificate
    x509pop_spiffe: SpiffeId | None = None  # at or below which such a node's SVID is
    tpm_devid_ca: tuple[Path, ...] = ()  # PEM files; none: no node attests by a key in a TPM
    tpm_ek_ca: tuple[Path, ...] = ()  # PEM files of those who vouch for TPMs
    k8s_clusters: Path | None = None  # a TOML file of clusters; none: no node attests by k8s_psat
    keys: KeyChoice = field(default_factory=KeyChoice)
    signers: int = 0  # processes that sign; 0: this one does
    upstream: Upstream | None = None  # who signs our X.509 authorities; None: they are roots
    above: AboveChoice | None = None  # the server that is upstream, instead
    spire_listen: Address | None = None  # where SPIRE servers below ask
    features: frozenset[str] = frozenset()  # of ringfence.broker.features
    access: AccessConfig | None = None  # None: the admin API is for root and the server's own user
    log_level: str = "info"
    drain_seconds: float = 5.0

    def __post_init__(self) -> None:
        if len(str(self.admin_path).encode()) > MAX_SOCKET_PATH:
            raise RingfenceError(
                Kind.INVALID,
                f"a socket's path has at most {MAX_SOCKET_PATH} bytes",
                where=str(self.admin_path),
                hint="Give a shorter --admin-socket",
            )
        if bool(self.tpm_devid_ca) != bool(self.tpm_ek_ca):
            raise RingfenceError(
                Kind.INVALID,
                "--tpm-devid-ca and --tpm-ek-ca go together",
                hint="Name those who issue to nodes, and those who make their TPMs",
            )

    @property
    def admin_path(self) -> Path:
        """Where operators reach it."""
        return self.admin_socket or self.data_dir / ADMIN_SOCKET
