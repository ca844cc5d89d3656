"""Allow and Deny documents: who calls, what is called, and what is asked of the call."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ringfence.policy.fields import Cidr, HostPattern, Name, SpiffeIdText, Text, Time, TrustDomainName, problem
from ringfence.policy.part import SOME, DestinationRef, DocumentPart, GrpcRef, HttpRef, Metadata, Part
from ringfence.policy.token_document import JwtRef


class SourceRef(Part):
    """Callers: a workload, those of a namespace or of the mesh; an identity or everybody of another trust domain.

    Or (plaintext) those without any identity, at a port that takes such callers for a while.
    """

    workload: Name | None = None
    namespace: Name | None = None
    all: Literal[True] | None = None
    trust_domain: TrustDomainName | None = None
    id: SpiffeIdText | None = None
    plaintext: Literal[True] | None = None
    cidrs: Annotated[list[Cidr], SOME] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self.cidrs is not None and self.model_fields_set == {"cidrs"}:
            hint = "Write who calls as well, such as {workload: NAME, cidrs: [10.0.0.0/8]}"
            raise problem("RF1104", "an address is nobody's identity: it narrows a source and is none", hint)
        ours = self.workload is not None or self.namespace is not None
        forms = (ours, bool(self.all), self.trust_domain is not None, self.id is not None, bool(self.plaintext))
        if sum(forms) != 1:
            raise problem(
                "RF1104",
                "a source is a workload, a namespace, all, callers of another trust domain, or plaintext",
                "Write {workload: NAME}, {workload: NAME, namespace: NS}, {namespace: NS}, {all: true},"
                " {trustDomain: NAME}, {id: spiffe://NAME/PATH} or {plaintext: true}",
            )
        return self


class RuleSpec(Part):
    """Who may, or may not, reach what, and who answers for it."""

    sources: Annotated[list[SourceRef], SOME] = Field(alias="from")
    destinations: Annotated[list[DestinationRef], SOME] = Field(alias="to")
    http: Annotated[list[HttpRef], SOME] | None = None
    grpc: Annotated[list[GrpcRef], SOME] | None = None
    jwt: JwtRef | None = None
    server_names: Annotated[list[HostPattern], SOME] | None = None
    mode: Literal["enforce", "shadow"] = "enforce"
    expires: Time | None = None
    owner: Text
    reason: Text

    @model_validator(mode="after")
    def _one_language(self) -> Self:
        if self.http is not None and self.grpc is not None:
            hint = "Write gRPC calls as http too, with method POST and path /package.Service/Method"
            raise problem("RF1104", "a rule has http or grpc", hint)
        if self.jwt is not None and any(source.plaintext for source in self.sources):
            hint = "Let plaintext callers in by a rule of their own, without jwt"
            raise problem("RF1104", "whoever reads along in plaintext has the token as well", hint)
        return self

    @property
    def requests(self) -> list[HttpRef]:
        """The requests that the rule means, gRPC calls among them; empty does not restrict."""
        return [*(self.http or ()), *(call.as_http() for call in self.grpc or ())]


class AllowDocument(DocumentPart):
    """Permits; what no Allow permits is denied."""

    kind: Literal["Allow"]
    metadata: Metadata
    spec: RuleSpec


class DenyDocument(DocumentPart):
    """Forbids, whatever any Allow permits."""

    kind: Literal["Deny"]
    metadata: Metadata
    spec: RuleSpec
