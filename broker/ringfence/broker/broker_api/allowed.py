"""Who may use the Broker API, and how each may name workloads; whoever is not listed may nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ringfence.broker.address import MAX_SOCKET_PATH
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId

if TYPE_CHECKING:
    from ringfence.broker.address import Address

PID, KUBERNETES = "WorkloadPIDReference", "KubernetesObjectReference"
REFERENCE_TYPES = (PID, KUBERNETES)
_OVER_TCP = "+tcp"
_EXAMPLE = f'[[brokers]] id = "spiffe://example.org/node-proxy", references = [{{type = "{PID}"}}]'


@dataclass(frozen=True, slots=True)
class Broker:
    """One broker by its SPIFFE ID, and the types by which it may name workloads: of each, whether over TCP too."""

    id: SpiffeId
    references: Mapping[str, bool]

    @classmethod
    def parse(cls, text: str) -> Broker:
        """From `ID=TYPE,TYPE+tcp`; raises INVALID."""
        spiffe_id, _, types = text.partition("=")
        named = [(each.removesuffix(_OVER_TCP), each.endswith(_OVER_TCP)) for each in types.split(",") if each]
        return cls._checked(spiffe_id, named)

    @classmethod
    def of_table(cls, table: Mapping[str, Any]) -> Broker:
        """From one `[[brokers]]` of a configuration file; raises INVALID."""
        references = table.get("references")
        if (
            not isinstance(references, list)
            or not isinstance(table.get("id"), str)
            or table.keys() - {"id", "references"}
        ):
            raise _invalid(f"a broker has `id` and `references`, this one {', '.join(table) or 'nothing'}")
        return cls._checked(table["id"], [_reference(each) for each in references])

    @classmethod
    def _checked(cls, spiffe_id: str, named: list[tuple[str, bool]]) -> Broker:
        found = SpiffeId.parse(spiffe_id)
        if not found.path:
            raise _invalid(f"{found} names a trust domain, no broker")
        if unknown := [name for name, _ in named if name not in REFERENCE_TYPES]:
            raise _invalid(f"{unknown[0]!r} is no type of reference")
        if not named or len(dict(named)) < len(named):
            raise _invalid(f"{found} is to have each type of reference once, and one at least")
        return cls(found, MappingProxyType(dict(named)))

    def may_use(self, reference_type: str, *, local: bool) -> bool:
        """Whether it may name workloads so, on a connection that is *local*."""
        return reference_type in self.references and (local or self.references[reference_type])


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """Where brokers are served, and which."""

    brokers: tuple[Broker, ...]
    socket: Path | None = None
    listen: Address | None = None

    def check(self, workload_socket: Path) -> None:
        """Raise INVALID for what must not be, beside an agent whose Workload API is at *workload_socket*."""
        if not self.brokers:
            raise _invalid("no broker is allowed")
        if len({broker.id for broker in self.brokers}) < len(self.brokers):
            raise _invalid("a broker is listed twice")
        if self.socket is None and self.listen is None:
            raise RingfenceError(
                Kind.INVALID, "brokers are allowed and nowhere served", hint="Give --broker-socket or --broker-listen"
            )
        if self.socket is None:
            return
        # Who may reach the Workload API, which needs no credential, is decided by folder: that is every workload.
        if self.socket.parent.resolve() == workload_socket.parent.resolve():
            raise RingfenceError(
                Kind.INVALID,
                "the Broker API's socket is in the folder of the Workload API's",
                where=str(self.socket),
                hint="Give --broker-socket a folder of its own, which only brokers can enter",
            )
        if len(str(self.socket).encode()) > MAX_SOCKET_PATH:
            raise RingfenceError(
                Kind.INVALID,
                f"a socket's path has at most {MAX_SOCKET_PATH} bytes",
                where=str(self.socket),
                hint="Give a shorter --broker-socket",
            )


def _reference(table: Any) -> tuple[str, bool]:
    if not isinstance(table, Mapping) or table.keys() - {"type", "over_tcp"}:
        raise _invalid("a reference has `type` and `over_tcp`")
    over_tcp = table.get("over_tcp", False)
    if not isinstance(over_tcp, bool):
        raise _invalid("`over_tcp` is true or false")
    return str(table.get("type", "")), over_tcp


def _invalid(detail: str) -> RingfenceError:
    return RingfenceError(Kind.INVALID, detail, hint=f"For example: {_EXAMPLE}")
