from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LeaveRequest(_message.Message):
    __slots__ = ("node",)
    NODE_FIELD_NUMBER: _ClassVar[int]
    node: str
    def __init__(self, node: _Optional[str] = ...) -> None: ...

class LeaveResponse(_message.Message):
    __slots__ = ("callers",)
    CALLERS_FIELD_NUMBER: _ClassVar[int]
    callers: int
    def __init__(self, callers: _Optional[int] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeResponse(_message.Message):
    __slots__ = ("spiffe_id", "namespace", "workload", "served", "upstreams", "revision", "egress")
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    SERVED_FIELD_NUMBER: _ClassVar[int]
    UPSTREAMS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    EGRESS_FIELD_NUMBER: _ClassVar[int]
    spiffe_id: str
    namespace: str
    workload: str
    served: _containers.RepeatedCompositeFieldContainer[Served]
    upstreams: _containers.RepeatedCompositeFieldContainer[Upstream]
    revision: str
    egress: bool
    def __init__(self, spiffe_id: _Optional[str] = ..., namespace: _Optional[str] = ..., workload: _Optional[str] = ..., served: _Optional[_Iterable[_Union[Served, _Mapping]]] = ..., upstreams: _Optional[_Iterable[_Union[Upstream, _Mapping]]] = ..., revision: _Optional[str] = ..., egress: _Optional[bool] = ...) -> None: ...

class Served(_message.Message):
    __slots__ = ("name", "port", "protocol", "socket", "last")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    SOCKET_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    name: str
    port: int
    protocol: str
    socket: str
    last: int
    def __init__(self, name: _Optional[str] = ..., port: _Optional[int] = ..., protocol: _Optional[str] = ..., socket: _Optional[str] = ..., last: _Optional[int] = ...) -> None: ...

class Upstream(_message.Message):
    __slots__ = ("key", "env", "protocol", "external", "first", "last")
    KEY_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    key: str
    env: str
    protocol: str
    external: bool
    first: int
    last: int
    def __init__(self, key: _Optional[str] = ..., env: _Optional[str] = ..., protocol: _Optional[str] = ..., external: _Optional[bool] = ..., first: _Optional[int] = ..., last: _Optional[int] = ...) -> None: ...
