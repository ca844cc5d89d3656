"""Descriptor pools of our own, for .proto files of standards: another copy in the default pool would clash."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message


class PrivatePool:
    """What `NAME.binpb` beside this module holds, which `proto/generate.py` made."""

    def __init__(self, name: str) -> None:
        data = resources.files(__package__).joinpath(f"{name}.binpb").read_bytes()
        self._files = descriptor_pb2.FileDescriptorSet.FromString(data).file
        self._pool = descriptor_pool.DescriptorPool()
        for file in self._files:
            self._pool.Add(file)

    def __iter__(self) -> Iterator[descriptor_pb2.FileDescriptorProto]:
        """Its files, each after those that it imports."""
        return iter(self._files)

    def service(self, name: str) -> ServiceDescriptor:
        """The service of that full name; raises KeyError."""
        found: ServiceDescriptor = self._pool.FindServiceByName(name)
        return found

    def message(self, name: str) -> type[Message]:
        """The class of the message of that full name; raises KeyError."""
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(name))
