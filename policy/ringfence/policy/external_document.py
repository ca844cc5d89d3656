"""External documents: a host outside by its name, or every host below one where that is asked for."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ringfence.policy.fields import Address, HostPattern, Name, PortNumber, problem
from ringfence.policy.part import SOME, DocumentPart, Metadata, Part


class HostPort(Part):
    """A port of a host outside: TLS by the proxy, which checks the name, by the workload itself, or (false) none."""

    name: Name
    port: PortNumber
    protocol: Literal["http", "http2", "grpc", "tcp", "postgres"]
    tls: bool | Literal["passthrough"] = True

    @model_validator(mode="after")
    def _can_be_seen(self) -> Self:
        if self.tls == "passthrough" and self.protocol != "tcp":
            raise problem(
                "RF1104",
                f"the proxy sees no {self.protocol} within the workload's own TLS",
                "Write protocol: tcp, or tls: true to have requests judged",
            )
        return self


class DynamicRef(Part):
    """Which names stand for the `*` of a host, and which addresses DNS may give for them."""

    labels: Literal["one", "many"]
    addresses: Literal["public", "private"] = "public"


class ExternalSpec(Part):
    """A host outside the mesh that rules may name, or with `dynamic` all those below a name."""

    host: HostPattern
    dynamic: DynamicRef | None = None
    address: Address | None = None
    ports: Annotated[list[HostPort], SOME]
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

    @model_validator(mode="after")
    def _is_asked_for(self) -> Self:
        """A star opens what nobody has listed: it is never taken without the word for it, nor the word without it."""
        wild = self.host.startswith("*.")
        if wild and self.dynamic is None:
            hint = "Write the exact host, or dynamic: {labels: one} to open every name in place of the star"
            raise problem("RF1104", f"{self.host} stands for hosts that nobody has listed", hint)
        if not wild and self.dynamic is not None:
            raise problem("RF1104", "dynamic is for hosts such as *.models.example", "Leave it out, or write the star")
        if self.dynamic is not None and self.address is not None:
            raise problem("RF1104", "an address is that of one host, and the host has a star", "Leave address out")
        for port in self.ports if wild else ():
            if port.protocol in {"tcp", "postgres"} and port.tls != "passthrough":
                hint = "Write tls: passthrough, or declare each such host by its exact name"
                raise problem("RF1104", f"{port.protocol} says nowhere which host of {self.host} is meant", hint)
        return self


class ExternalDocument(DocumentPart):
    """A host outside the mesh."""

    kind: Literal["External"]
    metadata: Metadata
    spec: ExternalSpec
