"""The intent documents, one class a kind: their fields and the checks that need no other document."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from ringfence.certs.spiffe_id import SERVER_NAME
from ringfence.policy.external_document import ExternalDocument
from ringfence.policy.fabric_document import FabricDocument, FabricGrantDocument
from ringfence.policy.fields import (
    Cidr,
    Count,
    Duration,
    Host,
    Name,
    PortNumber,
    PortRange,
    RankHolder,
    SelectorSet,
    SocketName,
    Text,
    Time,
    TrustDomainName,
    problem,
)
from ringfence.policy.part import SOME, DocumentPart, Metadata, Part
from ringfence.policy.rule_document import AllowDocument, DenyDocument
from ringfence.policy.token_document import TokenIssuerDocument
from ringfence.policy.traffic_document import TrafficDocument


class MeshMetadata(Part):
    """The name of the Mesh document; it has no namespace."""

    name: Name = "mesh"


class Ttl(Part):
    """How long SVIDs live; what is left out comes from the Mesh, else 1h for X.509 and 5m for JWT."""

    x509: Duration | None = None
    jwt: Duration | None = None


class MeshDefaults(Part):
    """What holds where a workload says nothing."""

    ttl: Ttl = Ttl()


class MeshSpec(Part):
    """The mesh as a whole."""

    trust_domain: TrustDomainName
    defaults: MeshDefaults = MeshDefaults()


class PlaintextRef(Part):
    """Until when a port also takes callers without mutual TLS, from where, who answers for it, and why."""

    until: Time
    owner: Text
    reason: Text
    sources: Annotated[list[Cidr], SOME] | None = Field(alias="from", default=None)


class Serve(Part):
    """A port that a workload serves: a TCP port number or many, or the name of a Unix socket in its private folder."""

    name: Name
    port: PortNumber | None = None
    ports: PortRange | None = None
    socket: SocketName | None = None
    protocol: Literal["http", "http2", "grpc", "tcp", "postgres"]
    plaintext: PlaintextRef | None = None
    max_connections: Count | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if sum(place is not None for place in (self.port, self.ports, self.socket)) != 1:
            raise problem("RF1104", "a served port has one of port, ports and socket", "Write one of the three")
        if self.ports is not None and self.protocol != "tcp":
            raise problem("RF1104", "a range of ports speaks tcp", "Write protocol: tcp, or each port by itself")
        if self.ports is not None and self.plaintext is not None:
            hint = "Write each port that is to take plaintext by itself"
            raise problem("RF1104", "a range takes no plaintext: its callers say by TLS which port they mean", hint)
        if self.socket in {".", ".."}:
            raise problem("RF1105", f"{self.socket!r} is no file name of a socket")
        return self

    @property
    def numbers(self) -> tuple[int, int]:
        """The port number and 0, both ends of a range, or 0 and 0 for a socket."""
        if self.ports is None:
            return self.port or 0, 0
        first, _, last = self.ports.partition("-")
        return int(first), int(last)


class Launch(Part):
    """Who may start this workload with `ringfence run` and vouch for its processes."""

    by: Annotated[list[SelectorSet], SOME]


class WorkloadSpec(Part):
    """What a workload is, how it is recognised and what it serves."""

    role: Literal["training", "serving", "registry", "data", "gateway", "other"] = "other"
    match: Annotated[list[SelectorSet], SOME] | None = None
    serves: Annotated[list[Serve], SOME] | None = None
    launch: Launch | None = None
    ttl: Ttl = Ttl()
    dns_names: Annotated[list[Host], SOME] | None = None
    job: Name | None = None
    rank: RankHolder | None = None

    @model_validator(mode="after")
    def _ranks(self) -> Self:
        if self.job is not None and self.match is not None and self.rank is None:
            hint = "Write rank: KIND.NAME, such as k8s.pod-label.batch.kubernetes.io/job-completion-index"
            raise problem("RF1104", "a job with match has to say which selector holds the rank", hint)
        if self.rank is not None and (self.job is None or self.match is None):
            raise problem("RF1104", "rank is for a job with match", "A launcher says by itself which rank it starts")
        return self

    @field_validator("dns_names")
    @classmethod
    def _not_the_servers(cls, names: list[str] | None) -> list[str] | None:
        if names and SERVER_NAME in names:
            raise problem("RF1105", f"{SERVER_NAME} is the control plane's own name", "Choose another DNS name")
        return names


class MeshDocument(DocumentPart):
    """The one document about the mesh itself."""

    kind: Literal["Mesh"]
    metadata: MeshMetadata = MeshMetadata()
    spec: MeshSpec


class WorkloadDocument(DocumentPart):
    """A workload; its identity is `/ns/NAMESPACE/sa/NAME`; a job's are `/ns/NAMESPACE/job/JOB/rank/N`."""

    kind: Literal["Workload"]
    metadata: Metadata
    spec: WorkloadSpec


Document = (
    MeshDocument
    | WorkloadDocument
    | ExternalDocument
    | AllowDocument
    | DenyDocument
    | TrafficDocument
    | TokenIssuerDocument
    | FabricDocument
    | FabricGrantDocument
)

KINDS: dict[str, type[Document]] = {
    "Mesh": MeshDocument,
    "Workload": WorkloadDocument,
    "External": ExternalDocument,
    "Allow": AllowDocument,
    "Deny": DenyDocument,
    "Traffic": TrafficDocument,
    "TokenIssuer": TokenIssuerDocument,
    "Fabric": FabricDocument,
    "FabricGrant": FabricGrantDocument,
}
