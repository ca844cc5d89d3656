"""The intent documents, one class a kind: their fields and the checks that need no other document."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel

from ringfence.certs.spiffe_id import SERVER_NAME
from ringfence.policy.fields import (
    Address,
    Duration,
    Host,
    Method,
    Name,
    Path,
    PortNumber,
    SelectorSet,
    SocketName,
    Text,
    Time,
    TrustDomainName,
    problem,
)

API_VERSION: Literal["ringfence.dev/v1alpha1"] = "ringfence.dev/v1alpha1"

# An empty list would leave open whether it means everything or nothing, so none is taken.
_SOME = Field(min_length=1, max_length=1000)


class _Part(BaseModel):
    """Unknown fields are refused and values are taken as they are written, never converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=to_camel)


class Metadata(_Part):
    """The name of a document, unique in its namespace."""

    name: Name
    namespace: Name


class MeshMetadata(_Part):
    """The name of the Mesh document; it has no namespace."""

    name: Name = "mesh"


class Ttl(_Part):
    """How long SVIDs live; what is left out comes from the Mesh, else 1h for X.509 and 5m for JWT."""

    x509: Duration | None = None
    jwt: Duration | None = None


class MeshDefaults(_Part):
    """What holds where a workload says nothing."""

    ttl: Ttl = Ttl()


class MeshSpec(_Part):
    """The mesh as a whole."""

    trust_domain: TrustDomainName
    defaults: MeshDefaults = MeshDefaults()


class Serve(_Part):
    """A port that a workload serves: a TCP port number, or the name of a Unix socket in its private folder."""

    name: Name
    port: PortNumber | None = None
    socket: SocketName | None = None
    protocol: Literal["http", "grpc", "tcp", "postgres"]

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.port is None) == (self.socket is None):
            raise problem("RF1104", "a served port has either port or socket", "Write one of the two")
        if self.socket in {".", ".."}:
            raise problem("RF1105", f"{self.socket!r} is no file name of a socket")
        return self


class Launch(_Part):
    """Who may start this workload with `ringfence run` and vouch for its processes."""

    by: Annotated[list[SelectorSet], _SOME]


class WorkloadSpec(_Part):
    """What a workload is, how it is recognised and what it serves."""

    role: Literal["training", "serving", "registry", "data", "gateway", "other"] = "other"
    match: Annotated[list[SelectorSet], _SOME] | None = None
    serves: Annotated[list[Serve], _SOME] | None = None
    launch: Launch | None = None
    ttl: Ttl = Ttl()
    dns_names: Annotated[list[Host], _SOME] | None = None

    @field_validator("dns_names")
    @classmethod
    def _not_the_servers(cls, names: list[str] | None) -> list[str] | None:
        if names and SERVER_NAME in names:
            raise problem("RF1105", f"{SERVER_NAME} is the control plane's own name", "Choose another DNS name")
        return names


class HostPort(_Part):
    """A port of a host outside; with tls the proxy originates TLS and checks the host's name."""

    name: Name
    port: PortNumber
    protocol: Literal["http", "grpc", "tcp", "postgres"]
    tls: bool = True


class ExternalSpec(_Part):
    """A host outside the mesh that rules may name."""

    host: Host
    address: Address | None = None
    ports: Annotated[list[HostPort], _SOME]
    ca: Annotated[str, Field(min_length=1)] | None = None
    ca_file: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.ca is not None and self.ca_file is not None:
            raise problem("RF1109", "there is both ca and caFile", "Write one of the two")
        _, colon, number = (self.address or "").rpartition(":")
        if colon and number.isdigit() and len(self.ports) > 1:
            raise problem("RF1104", "an address with a port stands for one port only", "Leave the port out of address")
        if colon and number.isdigit() and not 0 < int(number) < 1 << 16:
            raise problem("RF1104", f"{self.address!r} has no port from 1 to 65535")
        return self


class SourceRef(_Part):
    """Callers: one workload, every workload of a namespace, or every workload of the mesh."""

    workload: Name | None = None
    namespace: Name | None = None
    all: Literal[True] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if bool(self.all) == (self.workload is not None or self.namespace is not None):
            raise problem(
                "RF1104",
                "a source is a workload, a namespace or all",
                "Write {workload: NAME}, {workload: NAME, namespace: NS}, {namespace: NS} or {all: true}",
            )
        return self


class DestinationRef(_Part):
    """One port of a workload or of an external host; the port may be left out where there is only one."""

    workload: Name | None = None
    external: Name | None = None
    namespace: Name | None = None
    port: Name | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.workload is None) == (self.external is None):
            raise problem(
                "RF1104",
                "a destination is a workload or an external host",
                "Write {workload: NAME, port: PORT} or {external: NAME, port: PORT}",
            )
        return self


class HttpRef(_Part):
    """Requests: any of the methods on any of the paths."""

    methods: Annotated[list[Method], _SOME] | None = None
    paths: Annotated[list[Path], _SOME] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.methods is None and self.paths is None:
            raise problem("RF1104", "an http entry has methods, paths or both", "Remove http to mean every request")
        return self


class RuleSpec(_Part):
    """Who may, or may not, reach what, and who answers for it."""

    sources: Annotated[list[SourceRef], _SOME] = Field(alias="from")
    destinations: Annotated[list[DestinationRef], _SOME] = Field(alias="to")
    http: Annotated[list[HttpRef], _SOME] | None = None
    mode: Literal["enforce", "shadow"] = "enforce"
    expires: Time | None = None
    owner: Text
    reason: Text


class _Document(_Part):
    """What every document has."""

    api_version: Literal["ringfence.dev/v1alpha1"] = API_VERSION


class MeshDocument(_Document):
    """The one document about the mesh itself."""

    kind: Literal["Mesh"]
    metadata: MeshMetadata = MeshMetadata()
    spec: MeshSpec


class WorkloadDocument(_Document):
    """A workload; its identity is `/ns/NAMESPACE/sa/NAME`."""

    kind: Literal["Workload"]
    metadata: Metadata
    spec: WorkloadSpec


class ExternalDocument(_Document):
    """A host outside the mesh."""

    kind: Literal["External"]
    metadata: Metadata
    spec: ExternalSpec


class AllowDocument(_Document):
    """Permits; what no Allow permits is denied."""

    kind: Literal["Allow"]
    metadata: Metadata
    spec: RuleSpec


class DenyDocument(_Document):
    """Forbids, whatever any Allow permits."""

    kind: Literal["Deny"]
    metadata: Metadata
    spec: RuleSpec


Document = MeshDocument | WorkloadDocument | ExternalDocument | AllowDocument | DenyDocument

KINDS: dict[str, type[Document]] = {
    "Mesh": MeshDocument,
    "Workload": WorkloadDocument,
    "External": ExternalDocument,
    "Allow": AllowDocument,
    "Deny": DenyDocument,
}


def field_names(part: type[BaseModel] = _Part) -> frozenset[str]:
    """Every field of every part below *part*, as it is written."""
    names: set[Any] = {field.alias or name for name, field in part.model_fields.items()}
    return frozenset(names).union(*(field_names(below) for below in part.__subclasses__()))
