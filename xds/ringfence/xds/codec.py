"""Envoy's messages by their full names: built from plain values, encoded to the same bytes every time.

The classes live in a private descriptor pool: no other copy of Envoy's protos in the process can clash with them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Any

from google.protobuf import (
    any_pb2,
    duration_pb2,
    empty_pb2,
    json_format,
    message_factory,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

from ringfence.xds.snapshot import Resource, content_version
from ringfence.xds.types import type_url

_WELL_KNOWN = (any_pb2, duration_pb2, empty_pb2, struct_pb2, timestamp_pb2, wrappers_pb2)


@cache
def pool() -> DescriptorPool:
    """The private pool, loaded on first use from the checked-in descriptor set (about 3 ms)."""
    filled = DescriptorPool()
    for module in _WELL_KNOWN:
        filled.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    data = resources.files(__package__).joinpath("envoy.binpb").read_bytes()
    for file in FileDescriptorSet.FromString(data).file:
        filled.AddSerializedFile(file.SerializeToString())
    return filled


@cache
def message(full_name: str) -> type[Message]:
    """The class of a message by its full name, `envoy.config.listener.v3.Listener`; KeyError when the set lacks it."""
    return message_factory.GetMessageClass(pool().FindMessageTypeByName(full_name))


def build(full_name: str, /, **fields: Any) -> Any:
    """A message from plain values: mappings for messages, strings for enums, timedelta for durations."""
    return message(full_name)(**fields)


def copied(what: Any) -> Any:
    """Another message with the same content, to be changed."""
    made = type(what)()
    made.CopyFrom(what)
    return made


def encode(what: Message) -> bytes:
    """The bytes of a message, map keys sorted: equal messages have equal bytes, in every process."""
    return what.SerializeToString(deterministic=True)


def pack(what: Message) -> Any:
    """The message in a google.protobuf.Any of the private pool."""
    return build("google.protobuf.Any", type_url=type_url(what.DESCRIPTOR.full_name), value=encode(what))


def packed(full_name: str, /, **fields: Any) -> Any:
    """`pack(build(...))`: what a `typed_config` holds."""
    return pack(build(full_name, **fields))


def extension(name: str, full_name: str, /, **fields: Any) -> dict[str, Any]:
    """The fields of a named extension: filters, access loggers, transport sockets, typed extension configs."""
    return {"name": name, "typed_config": packed(full_name, **fields)}


def socket_address(address: tuple[str, int]) -> dict[str, Any]:
    """The fields of an address: host and port, or with port 0 the path of a Unix socket."""
    where, number = address
    if not number:
        return {"pipe": {"path": where, "mode": 0o600}}
    return {"socket_address": {"address": where, "port_value": number}}


def resource(name: str, what: Message, needs: Iterable[tuple[str, str]] = ()) -> tuple[str, Resource]:
    """A (type URL, resource) pair as a snapshot takes it, encoded once, versioned by its bytes."""
    data = encode(pack(what))
    return type_url(what.DESCRIPTOR.full_name), Resource(name, content_version(data), data, frozenset(needs))


def unpack(data: bytes) -> Any:
    """The message inside serialised Any bytes; for tests and for those who look at what was sent."""
    outer: Any = message("google.protobuf.Any").FromString(data)
    return message(outer.type_url.rpartition("/")[2]).FromString(outer.value)


def to_json(what: Message) -> str:
    """Proto JSON with the field names of the .proto files; enums as numbers, which Envoy reads too."""
    return json_format.MessageToJson(
        what, preserving_proto_field_name=True, use_integers_for_enums=True, descriptor_pool=pool()
    )
