"""What an agent is told at start: flags over environment over TOML file over defaults, checked once, then frozen."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ringfence.broker.address import MAX_SOCKET_PATH, Address
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.xds.locality import NOWHERE, Locality

if TYPE_CHECKING:  # an agent that serves no broker does not pay for it
    from ringfence.broker.broker_api.allowed import BrokerConfig

ADMIN_SUFFIX = ".admin"
TPM = "device:/dev/tpmrm0"  # through the kernel's resource manager
PROJECTED_TOKEN = Path("/var/run/secrets/tokens/ringfence-agent")


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """Everything `ringfence agent run` can be told; times in seconds."""

    server: Address
    trust_domain: TrustDomain
    data_dir: Path
    socket: Path
    join_token: str = field(default="", repr=False)
    attestor: str = "join_token"
    x509pop_cert: Path | None = None
    x509pop_key: Path | None = None
    tpm_devid_cert: Path | None = None
    tpm_devid_priv: Path | None = None
    tpm_devid_pub: Path | None = None
    tpm_tcti: str = TPM
    k8s_psat_cluster: str = ""  # as the server's configuration names it
    k8s_psat_token: Path = PROJECTED_TOKEN
    k8s_node: str = ""  # whose pods are followed; empty: no API is asked
    k8s_kubeconfig: Path | None = None  # None: the pod's own service account
    bootstrap_bundle: Path | None = None
    insecure_bootstrap: bool = False
    http_listen: Address | None = None
    hold: float = 30.0  # how long a workload waits for an identity that is not there yet
    attest_patience: float = 60.0  # how long the first contact with the server is tried
    drain_seconds: float = 0.2  # Workload API streams never end by themselves
    features: frozenset[str] = frozenset()  # of ringfence.broker.features
    broker: BrokerConfig | None = None  # who is served the Broker API, and where
    log_level: str = "info"
    more_servers: tuple[Address, ...] = ()  # of the same trust domain, on the same database
    fabric: bool = False  # keep the node's fabrics: routes, packet filters and their members
    locality: Locality = NOWHERE  # of this host; launchers tell it to their proxies

    def __post_init__(self) -> None:
        if len(str(self.admin_socket).encode()) > MAX_SOCKET_PATH:
            raise RingfenceError(
                Kind.INVALID,
                f"a socket's path has at most {MAX_SOCKET_PATH} bytes, `{ADMIN_SUFFIX}` included",
                where=str(self.socket),
                hint="Give a shorter --socket",
            )
        files = (self.x509pop_cert, self.x509pop_key)
        if self.attestor == "x509pop" and not all(files):
            raise RingfenceError(
                Kind.INVALID, "--attestor x509pop proves a key", hint="Give --x509pop-cert and --x509pop-key"
            )
        if self.attestor != "x509pop" and any(files):
            raise RingfenceError(
                Kind.INVALID, "--x509pop-cert and --x509pop-key are for --attestor x509pop", hint="Add that flag"
            )
        devid = (self.tpm_devid_cert, self.tpm_devid_priv, self.tpm_devid_pub)
        if any(devid) if self.attestor != "tpm_devid" else not all(devid):
            raise RingfenceError(
                Kind.INVALID,
                "--attestor tpm_devid, --tpm-devid-cert, --tpm-devid-priv and --tpm-devid-pub go together",
                hint="Give all of them, or none",
            )
        if (self.attestor == "k8s_psat") != bool(self.k8s_psat_cluster):
            raise RingfenceError(
                Kind.INVALID,
                "--attestor k8s_psat and --k8s-psat-cluster go together",
                hint="Name the cluster as the server's --k8s-clusters file does",
            )
        if self.k8s_kubeconfig and not self.k8s_node:
            raise RingfenceError(
                Kind.INVALID, "--k8s-kubeconfig is for the pods of a node", hint="Name the node with --k8s-node"
            )
        if self.bootstrap_bundle and self.insecure_bootstrap:
            raise RingfenceError(
                Kind.INVALID,
                "--bootstrap-bundle and --insecure-bootstrap exclude each other",
                hint="Keep --bootstrap-bundle: it is the safe one",
            )

    @property
    def servers(self) -> tuple[Address, ...]:
        """Every server that it may use."""
        return (self.server, *self.more_servers)

    @property
    def admin_socket(self) -> Path:
        """Where launchers reach it."""
        return self.socket.with_name(self.socket.name + ADMIN_SUFFIX)
