"""Hosts outside the mesh as frozen values: by which name each is reached, on which ports, and how it proves itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from ringfence.policy.model import Origin, Protocol


@dataclass(frozen=True, slots=True)
class ExternalPort:
    """A port of a host outside; with `tls` the proxy originates TLS 1.2+ and checks the host's name.

    With `passthrough` the workload does, and the proxy lets through only what asks for the host by name (SNI).
    """

    name: str
    number: int
    protocol: Protocol
    tls: bool
    passthrough: bool = False


@dataclass(frozen=True, slots=True)
class Dynamic:
    """What a host with a star means: names of one more label, or of any number; and which answers of DNS are taken."""

    many: bool  # labels in place of the star
    private: bool  # whether addresses of private networks are taken; else public ones alone


@dataclass(frozen=True, slots=True)
class External:
    """A host outside the mesh that may be reached by its exact name."""

    namespace: str
    name: str
    host: str
    address: str  # where to connect when not to `host` itself; empty: resolve `host`
    ports: tuple[ExternalPort, ...]
    ca_pem: str  # empty: the system's trust store
    origin: Origin = field(compare=False)
    dynamic: Dynamic | None = None  # of a host with a star, and of no other

    @property
    def key(self) -> str:
        """`namespace/name`, unique in the model, among workloads too."""
        return f"{self.namespace}/{self.name}"

    def port(self, name: str) -> ExternalPort | None:
        """The port of that name."""
        return next((port for port in self.ports if port.name == name), None)
