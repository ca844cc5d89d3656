"""What intent documents of every kind are made of: strict parts, names, and references to what is called."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel

from ringfence.policy.fields import GrpcMethod, GrpcService, HeaderName, Method, Name, Path, Text, problem
from ringfence.policy.headers import NOT_FOR_RULES, VALUE

API_VERSION: Literal["ringfence.dev/v1alpha1"] = "ringfence.dev/v1alpha1"

# An empty list would leave open whether it means everything or nothing, so none is taken.
SOME = Field(min_length=1, max_length=1000)


class Part(BaseModel):
    """Unknown fields are refused and values are taken as they are written, never converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=to_camel)


class Metadata(Part):
    """The name of a document, unique in its namespace."""

    name: Name
    namespace: Name


class DestinationRef(Part):
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


class HeaderRef(Part):
    """A request header that is exactly, starts with, or just is there; names are compared without case."""

    name: HeaderName
    exact: Text | None = None
    prefix: Text | None = None
    present: Literal[True] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if sum(form is not None for form in (self.exact, self.prefix, self.present)) != 1:
            raise problem("RF1104", "a header has one of exact, prefix and present", "Write one of the three")
        return self


class HttpRef(Part):
    """Requests: any of the methods, on any of the paths, with all of the headers."""

    methods: Annotated[list[Method], SOME] | None = None
    paths: Annotated[list[Path], SOME] | None = None
    headers: Annotated[list[HeaderRef], SOME] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.methods is None and self.paths is None and self.headers is None:
            raise problem("RF1104", "an http entry has methods, paths or headers", "Remove http to mean every request")
        return self

    @field_validator("headers")
    @classmethod
    def _can_be_judged(cls, headers: list[HeaderRef] | None) -> list[HeaderRef] | None:
        for header in headers or ():
            _check_for_rules(header)
        return headers


class GrpcRef(Part):
    """gRPC calls: any of the methods of any of the services, with all of the metadata."""

    services: Annotated[list[GrpcService], SOME] | None = None
    methods: Annotated[list[GrpcMethod], SOME] | None = None
    metadata: Annotated[list[HeaderRef], SOME] | None = None

    @model_validator(mode="after")
    def _as_http(self) -> Self:
        if self.services is None and self.methods is None and self.metadata is None:
            hint = "Remove grpc to mean every call"
            raise problem("RF1104", "a grpc entry has services, methods or metadata", hint)
        for header in self.metadata or ():
            _check_for_rules(header)
        return self

    def as_http(self) -> HttpRef:
        """The requests that these calls are (gRPC over HTTP/2, "Requests"): POST /package.Service/Method."""
        calls = [f"/{service}/{method}" for service in self.services or ["*"] for method in self.methods or ["*"]]
        return HttpRef(methods=["POST"], paths=calls, headers=self.metadata)


def _check_for_rules(header: HeaderRef) -> None:
    """A route may be wrong about a header, a rule may not."""
    if header.name in NOT_FOR_RULES:
        hint = "Ask for the path, the method, or a header that the caller sets for this purpose"
        raise problem("RF1104", f"a rule cannot ask for the header {header.name}: it has more than one reading", hint)
    asked = header.exact if header.exact is not None else header.prefix
    if asked is not None and not VALUE.fullmatch(asked):
        hint = "Repeated headers are joined by commas: ask for one value, in visible ASCII without a comma"
        raise problem("RF1104", f"{asked!r} is no single value of a header", hint)


class DocumentPart(Part):
    """What every document has."""

    api_version: Literal["ringfence.dev/v1alpha1"] = API_VERSION


def field_names(part: type[BaseModel] = Part) -> frozenset[str]:
    """Every field of every part below *part*, as it is written."""
    names: set[Any] = {field.alias or name for name, field in part.model_fields.items()}
    return frozenset(names).union(*(field_names(below) for below in part.__subclasses__()))
