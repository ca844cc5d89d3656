"""A grpc.aio client of any service, made from its descriptor: no generated stubs, one place for paths and parsers."""

from __future__ import annotations

from typing import Any

import grpc.aio
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from ringfence.proto.service import path_of


def client_call(channel: grpc.aio.Channel, method: MethodDescriptor) -> Any:
    """The grpc.aio multi-callable of *method* on *channel*, of the kind that its streaming flags say."""
    kind = "stream_" if method.client_streaming else "unary_"
    kind += "stream" if method.server_streaming else "unary"
    return getattr(channel, kind)(
        path_of(method),
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )


class Client:
    """One service on one channel: `Client(channel, service_of(admin_pb2, "Server")).Info(request)`."""

    def __init__(self, channel: grpc.aio.Channel, service: ServiceDescriptor) -> None:
        self._calls = {method.name: client_call(channel, method) for method in service.methods}

    def __getattr__(self, name: str) -> Any:
        try:
            return self._calls[name]
        except KeyError:
            raise AttributeError(f"no method {name!r}; there are {', '.join(self._calls)}") from None
