"""From a service descriptor to what both ends of a call need: its path and its parsers."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor


def service_of(module: ModuleType, name: str) -> ServiceDescriptor:
    """The service *name* of a generated module: `service_of(admin_pb2, "Server")`; raises KeyError."""
    service: ServiceDescriptor = module.DESCRIPTOR.services_by_name[name]
    return service


def path_of(method: MethodDescriptor) -> str:
    """What a call of *method* carries as `:path`: `/ringfence.admin.v1.Server/Info`."""
    return f"/{method.containing_service.full_name}/{method.name}"


def parser_of(method: MethodDescriptor) -> Callable[[bytes], Any]:
    """Bytes to the request message of *method*."""
    parser: Callable[[bytes], Any] = message_factory.GetMessageClass(method.input_type).FromString
    return parser
