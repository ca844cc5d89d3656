"""Discovery requests and responses as values and bytes, for both variants (service/discovery/v3/discovery.proto).

Requests are read through the codec and reduced to what a control plane needs: of Envoy's 61 KB of node only the id, the
cluster, the metadata, the place and the kind of client are kept. Responses are put together from resources that were
encoded once; no message is built on the way out, and equal responses are one bytes object however many streams send
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.xds.codec import message
from ringfence.xds.snapshot import Resource

_SHARED = 256  # distinct responses kept for streams that are about to send the same
_SEVEN_BITS = 0x7F
_TAG_1, _TAG_2, _TAG_3, _TAG_4, _TAG_5, _TAG_6, _TAG_7, _TAG_9 = (
    bytes([number << 3 | 2]) for number in (1, 2, 3, 4, 5, 6, 7, 9)
)
# One code and one text, whether there is no such thing or it is not for this client: which of the two, nobody learns.
_NOT_FOUND = b"\x08\x05"  # google.rpc.Status: code=1
_MISSING = "nothing of that name is for this client: there is no such thing, or no rule lets it have it"


@dataclass(frozen=True, slots=True)
class Node:
    """Who a client claims to be; only its certificate proves anything."""

    id: str
    cluster: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    user_agent: str = ""
    region: str = ""
    zone: str = ""

    @property
    def is_grpc(self) -> bool:
        """Whether a gRPC library asks for itself, as "gRPC C-core linux Python" or "gRPC Go": it has a dialect."""
        return self.user_agent.startswith("gRPC")


@dataclass(frozen=True, slots=True)
class SotwRequest:
    """A DiscoveryRequest: the complete list of names that the client wants of a type; `error` is set in a NACK."""

    type_url: str
    names: tuple[str, ...] = ()
    nonce: str = ""
    version: str = ""
    error: str | None = None
    node: Node | None = None


@dataclass(frozen=True, slots=True)
class DeltaRequest:
    """A DeltaDiscoveryRequest: changes of a subscription; `initial` is what a reconnected client still holds."""

    type_url: str
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial: Mapping[str, str] = field(default_factory=dict)
    nonce: str = ""
    error: str | None = None
    node: Node | None = None


@dataclass(frozen=True, slots=True)
class Out:
    """A response to send: its payload is a whole DiscoveryResponse or DeltaDiscoveryResponse."""

    type_url: str
    nonce: str
    version: str
    payload: bytes = field(repr=False)


def parse_sotw(data: bytes) -> SotwRequest:
    """The DiscoveryRequest in *data*; raises INVALID."""
    read = _read("envoy.service.discovery.v3.DiscoveryRequest", data)
    return SotwRequest(
        read.type_url, tuple(read.resource_names), read.response_nonce, read.version_info, _error(read), _node(read)
    )


def parse_delta(data: bytes) -> DeltaRequest:
    """The DeltaDiscoveryRequest in *data*; raises INVALID."""
    read = _read("envoy.service.discovery.v3.DeltaDiscoveryRequest", data)
    return DeltaRequest(
        read.type_url,
        tuple(read.resource_names_subscribe),
        tuple(read.resource_names_unsubscribe),
        dict(read.initial_resource_versions),
        read.response_nonce,
        _error(read),
        _node(read),
    )


@lru_cache(maxsize=_SHARED)
def sotw_payload(
    type_url: str,
    nonce: str,
    version: str,
    resources: tuple[Resource, ...],
    missing: tuple[str, ...] = (),
    origin: str = "",
) -> bytes:
    """A DiscoveryResponse: version_info=1, resources=2, type_url=4, nonce=5, control_plane=6, resource_errors=7."""
    body = [_text(_TAG_1, version)]
    body += [_bytes(_TAG_2, resource.any) for resource in resources]
    body += [_text(_TAG_4, type_url), _text(_TAG_5, nonce), _control_plane(_TAG_6, origin)]
    body += [_bytes(_TAG_7, _error_of(name)) for name in missing]
    return b"".join(body)


@lru_cache(maxsize=_SHARED)
def delta_payload(
    type_url: str,
    nonce: str,
    version: str,
    resources: tuple[Resource, ...],
    removed: tuple[str, ...],
    missing: tuple[str, ...] = (),
    origin: str = "",
) -> bytes:
    """A DeltaDiscoveryResponse: as the other, but removed_resources=6, control_plane=7 and resource_errors=9."""
    body = [_text(_TAG_1, version)]
    body += [_bytes(_TAG_2, _wrapped(resource)) for resource in resources]
    body += [_text(_TAG_4, type_url), _text(_TAG_5, nonce)]
    body += [_bytes(_TAG_6, name.encode()) for name in removed]
    body.append(_control_plane(_TAG_7, origin))
    body += [_bytes(_TAG_9, _error_of(name)) for name in missing]
    return b"".join(body)


def _control_plane(tag: bytes, origin: str) -> bytes:
    """A config.core.v3.ControlPlane: identifier=1; nothing without one."""
    return _bytes(tag, _text(_TAG_1, origin)) if origin else b""


def _error_of(name: str) -> bytes:
    """A ResourceError (xRFC TP3): resource_name=1, of which name=1, and error_detail=2, of which message=2."""
    return _bytes(_TAG_1, _text(_TAG_1, name)) + _bytes(_TAG_2, _NOT_FOUND + _text(_TAG_2, _MISSING))


def _wrapped(resource: Resource) -> bytes:
    """A discovery.v3.Resource: version=1, resource=2, name=3."""
    return _text(_TAG_1, resource.version) + _bytes(_TAG_2, resource.any) + _text(_TAG_3, resource.name)


def _text(tag: bytes, text: str) -> bytes:
    return _bytes(tag, text.encode()) if text else b""


def _bytes(tag: bytes, data: bytes) -> bytes:
    return tag + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > _SEVEN_BITS:
        digits.append(number & _SEVEN_BITS | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


def _read(full_name: str, data: bytes) -> Any:
    try:
        return message(full_name).FromString(data)
    except DecodeError as error:
        raise RingfenceError(Kind.INVALID, f"not a {full_name.rpartition('.')[2]}: {error}") from None


def _error(read: Any) -> str | None:
    return str(read.error_detail.message) if read.HasField("error_detail") else None


def _node(read: Any) -> Node | None:
    if not read.HasField("node"):
        return None
    node = read.node
    metadata = MessageToDict(node.metadata)
    return Node(node.id, node.cluster, metadata, node.user_agent_name, node.locality.region, node.locality.zone)
