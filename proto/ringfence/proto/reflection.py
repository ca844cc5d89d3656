"""gRPC server reflection, version 1: which services there are, and the files that describe them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto

from ringfence.proto.lane import Call, Method, methods_of
from ringfence.proto.private import PrivatePool
from ringfence.proto.status import Code

_PACKAGE = "grpc.reflection.v1"
_POOL = PrivatePool("reflection")
DESCRIPTOR = _POOL.service(f"{_PACKAGE}.ServerReflection")
# Classes made at run time: their fields are known to protobuf, not to a type checker.
ServerReflectionRequest: Any = _POOL.message(f"{_PACKAGE}.ServerReflectionRequest")
ServerReflectionResponse: Any = _POOL.message(f"{_PACKAGE}.ServerReflectionResponse")


class Reflection:
    """Tells of the services in *pools*, and of itself."""

    def __init__(self, *pools: PrivatePool) -> None:
        self._files = {file.name: file for pool in (*pools, _POOL) for file in pool}
        self._symbols = {symbol: file for file in self._files.values() for symbol in _symbols(file)}
        self._services = sorted(
            _dotted(file.package, each.name) for file in self._files.values() for each in file.service
        )

    def methods(self) -> dict[str, Method]:
        """For the lane, by path."""
        return methods_of(DESCRIPTOR, {"ServerReflectionInfo": self.serve})

    async def serve(self, call: Call) -> None:
        """Answer each question of *call* until it asks no more."""
        while (request := await call.receive()) is not None:
            await call.send(self.answer(request))

    def answer(self, request: Any) -> Any:
        """One answer, which says so when there is none."""
        answer = ServerReflectionResponse(valid_host=request.host, original_request=request)
        asked = request.WhichOneof("message_request")
        match asked:
            case "list_services":
                for name in self._services:
                    answer.list_services_response.service.add(name=name)
            case "file_by_filename":
                self._describe(answer, self._files.get(request.file_by_filename))
            case "file_containing_symbol":
                self._describe(answer, self._symbols.get(request.file_containing_symbol))
            case _:  # no file of ours has extensions
                _refuse(answer, Code.UNIMPLEMENTED, f"{asked or 'an empty question'} is not answered")
        return answer

    def _describe(self, answer: Any, file: FileDescriptorProto | None) -> None:
        if file is None:
            _refuse(answer, Code.NOT_FOUND, "there is no such file or symbol")
            return
        found: dict[str, bytes] = {}
        self._collect(file, found)
        # The one that was asked for comes first.
        answer.file_descriptor_response.file_descriptor_proto.extend(reversed(found.values()))

    def _collect(self, file: FileDescriptorProto, found: dict[str, bytes]) -> None:
        """*file* after all that it imports."""
        if file.name not in found:
            for name in file.dependency:
                self._collect(self._files[name], found)
            found[file.name] = file.SerializeToString()


def _symbols(file: FileDescriptorProto) -> Iterator[str]:
    """The full names that *file* gives: services and their methods, messages and enums."""
    for service in file.service:
        name = _dotted(file.package, service.name)
        yield name
        yield from (f"{name}.{method.name}" for method in service.method)
    yield from (_dotted(file.package, each.name) for each in file.enum_type)
    yield from _messages(file.package, file.message_type)


def _messages(scope: str, messages: Iterable[DescriptorProto]) -> Iterator[str]:
    for message in messages:
        name = _dotted(scope, message.name)
        yield name
        yield from (f"{name}.{each.name}" for each in message.enum_type)
        yield from _messages(name, message.nested_type)


def _dotted(scope: str, name: str) -> str:
    return f"{scope}.{name}" if scope else name


def _refuse(answer: Any, code: Code, text: str) -> None:
    answer.error_response.error_code = int(code)
    answer.error_response.error_message = text
