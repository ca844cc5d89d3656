from ringfence.agent.v1 import agent_pb2 as _agent_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListFabricMembersRequest(_message.Message):
    __slots__ = ("fabric", "job")
    FABRIC_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    fabric: str
    job: str
    def __init__(self, fabric: _Optional[str] = ..., job: _Optional[str] = ...) -> None: ...

class ListFabricMembersResponse(_message.Message):
    __slots__ = ("members",)
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    members: _containers.RepeatedCompositeFieldContainer[FabricMembership]
    def __init__(self, members: _Optional[_Iterable[_Union[FabricMembership, _Mapping]]] = ...) -> None: ...

class FabricMembership(_message.Message):
    __slots__ = ("fabric", "job", "spiffe_id", "entry_id", "node", "addresses", "state", "since", "until", "node_state", "detail")
    FABRIC_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    NODE_STATE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    fabric: str
    job: str
    spiffe_id: str
    entry_id: str
    node: str
    addresses: _containers.RepeatedScalarFieldContainer[str]
    state: str
    since: int
    until: int
    node_state: str
    detail: str
    def __init__(self, fabric: _Optional[str] = ..., job: _Optional[str] = ..., spiffe_id: _Optional[str] = ..., entry_id: _Optional[str] = ..., node: _Optional[str] = ..., addresses: _Optional[_Iterable[str]] = ..., state: _Optional[str] = ..., since: _Optional[int] = ..., until: _Optional[int] = ..., node_state: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class ListServersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListServersResponse(_message.Message):
    __slots__ = ("servers", "bundle_sequence")
    SERVERS_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    servers: _containers.RepeatedCompositeFieldContainer[ServerEntry]
    bundle_sequence: int
    def __init__(self, servers: _Optional[_Iterable[_Union[ServerEntry, _Mapping]]] = ..., bundle_sequence: _Optional[int] = ...) -> None: ...

class ServerEntry(_message.Message):
    __slots__ = ("id", "name", "address", "living", "here", "on_duty", "started_at", "bundle_sequence")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    LIVING_FIELD_NUMBER: _ClassVar[int]
    HERE_FIELD_NUMBER: _ClassVar[int]
    ON_DUTY_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    address: str
    living: bool
    here: bool
    on_duty: bool
    started_at: int
    bundle_sequence: int
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., address: _Optional[str] = ..., living: _Optional[bool] = ..., here: _Optional[bool] = ..., on_duty: _Optional[bool] = ..., started_at: _Optional[int] = ..., bundle_sequence: _Optional[int] = ...) -> None: ...

class ForgetServerRequest(_message.Message):
    __slots__ = ("id", "dry_run")
    ID_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    id: str
    dry_run: bool
    def __init__(self, id: _Optional[str] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class ForgetServerResponse(_message.Message):
    __slots__ = ("id", "until")
    ID_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    id: str
    until: int
    def __init__(self, id: _Optional[str] = ..., until: _Optional[int] = ...) -> None: ...

class JoinFabricRequest(_message.Message):
    __slots__ = ("fabric", "job", "closed_ports")
    FABRIC_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    CLOSED_PORTS_FIELD_NUMBER: _ClassVar[int]
    fabric: str
    job: str
    closed_ports: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, fabric: _Optional[str] = ..., job: _Optional[str] = ..., closed_ports: _Optional[_Iterable[int]] = ...) -> None: ...

class JoinFabricResponse(_message.Message):
    __slots__ = ("fabric", "job", "spiffe_id", "interfaces", "addresses", "members", "until", "closed_ports")
    FABRIC_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    INTERFACES_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    CLOSED_PORTS_FIELD_NUMBER: _ClassVar[int]
    fabric: _agent_pb2.FabricDocument
    job: str
    spiffe_id: str
    interfaces: _containers.RepeatedScalarFieldContainer[str]
    addresses: _containers.RepeatedScalarFieldContainer[str]
    members: _containers.RepeatedCompositeFieldContainer[_agent_pb2.FabricMember]
    until: int
    closed_ports: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, fabric: _Optional[_Union[_agent_pb2.FabricDocument, _Mapping]] = ..., job: _Optional[str] = ..., spiffe_id: _Optional[str] = ..., interfaces: _Optional[_Iterable[str]] = ..., addresses: _Optional[_Iterable[str]] = ..., members: _Optional[_Iterable[_Union[_agent_pb2.FabricMember, _Mapping]]] = ..., until: _Optional[int] = ..., closed_ports: _Optional[_Iterable[int]] = ...) -> None: ...

class ShowFabricsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ShowFabricsResponse(_message.Message):
    __slots__ = ("revision", "fabrics", "closed_ports")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    FABRICS_FIELD_NUMBER: _ClassVar[int]
    CLOSED_PORTS_FIELD_NUMBER: _ClassVar[int]
    revision: int
    fabrics: _containers.RepeatedCompositeFieldContainer[HeldFabric]
    closed_ports: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, revision: _Optional[int] = ..., fabrics: _Optional[_Iterable[_Union[HeldFabric, _Mapping]]] = ..., closed_ports: _Optional[_Iterable[int]] = ...) -> None: ...

class HeldFabric(_message.Message):
    __slots__ = ("fabric", "interfaces", "addresses", "jobs", "joined", "state", "detail")
    FABRIC_FIELD_NUMBER: _ClassVar[int]
    INTERFACES_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    JOINED_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    fabric: _agent_pb2.FabricDocument
    interfaces: _containers.RepeatedScalarFieldContainer[str]
    addresses: _containers.RepeatedScalarFieldContainer[str]
    jobs: _containers.RepeatedCompositeFieldContainer[_agent_pb2.FabricJob]
    joined: _containers.RepeatedScalarFieldContainer[str]
    state: str
    detail: str
    def __init__(self, fabric: _Optional[_Union[_agent_pb2.FabricDocument, _Mapping]] = ..., interfaces: _Optional[_Iterable[str]] = ..., addresses: _Optional[_Iterable[str]] = ..., jobs: _Optional[_Iterable[_Union[_agent_pb2.FabricJob, _Mapping]]] = ..., joined: _Optional[_Iterable[str]] = ..., state: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class InfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class InfoResponse(_message.Message):
    __slots__ = ("version", "trust_domain", "revision", "ready", "detail", "agents", "proxies", "entries", "spiffe_id")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    PROXIES_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    version: str
    trust_domain: str
    revision: int
    ready: bool
    detail: str
    agents: int
    proxies: int
    entries: int
    spiffe_id: str
    def __init__(self, version: _Optional[str] = ..., trust_domain: _Optional[str] = ..., revision: _Optional[int] = ..., ready: _Optional[bool] = ..., detail: _Optional[str] = ..., agents: _Optional[int] = ..., proxies: _Optional[int] = ..., entries: _Optional[int] = ..., spiffe_id: _Optional[str] = ...) -> None: ...

class GenerateTokenRequest(_message.Message):
    __slots__ = ("ttl",)
    TTL_FIELD_NUMBER: _ClassVar[int]
    ttl: int
    def __init__(self, ttl: _Optional[int] = ...) -> None: ...

class GenerateTokenResponse(_message.Message):
    __slots__ = ("token", "expires_at")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    token: str
    expires_at: int
    def __init__(self, token: _Optional[str] = ..., expires_at: _Optional[int] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("id", "spiffe_id", "parent_id", "selectors", "x509_ttl", "jwt_ttl", "dns_names", "hint", "created_at", "revision", "origin", "expires_at", "federates_with", "admin", "downstream", "store_svid", "jwt_jti")
    ID_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    SELECTORS_FIELD_NUMBER: _ClassVar[int]
    X509_TTL_FIELD_NUMBER: _ClassVar[int]
    JWT_TTL_FIELD_NUMBER: _ClassVar[int]
    DNS_NAMES_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    FEDERATES_WITH_FIELD_NUMBER: _ClassVar[int]
    ADMIN_FIELD_NUMBER: _ClassVar[int]
    DOWNSTREAM_FIELD_NUMBER: _ClassVar[int]
    STORE_SVID_FIELD_NUMBER: _ClassVar[int]
    JWT_JTI_FIELD_NUMBER: _ClassVar[int]
    id: str
    spiffe_id: str
    parent_id: str
    selectors: _containers.RepeatedScalarFieldContainer[str]
    x509_ttl: int
    jwt_ttl: int
    dns_names: _containers.RepeatedScalarFieldContainer[str]
    hint: str
    created_at: int
    revision: int
    origin: str
    expires_at: int
    federates_with: _containers.RepeatedScalarFieldContainer[str]
    admin: bool
    downstream: bool
    store_svid: bool
    jwt_jti: bool
    def __init__(self, id: _Optional[str] = ..., spiffe_id: _Optional[str] = ..., parent_id: _Optional[str] = ..., selectors: _Optional[_Iterable[str]] = ..., x509_ttl: _Optional[int] = ..., jwt_ttl: _Optional[int] = ..., dns_names: _Optional[_Iterable[str]] = ..., hint: _Optional[str] = ..., created_at: _Optional[int] = ..., revision: _Optional[int] = ..., origin: _Optional[str] = ..., expires_at: _Optional[int] = ..., federates_with: _Optional[_Iterable[str]] = ..., admin: _Optional[bool] = ..., downstream: _Optional[bool] = ..., store_svid: _Optional[bool] = ..., jwt_jti: _Optional[bool] = ...) -> None: ...

class CreateEntriesRequest(_message.Message):
    __slots__ = ("entries", "dry_run")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    dry_run: bool
    def __init__(self, entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class CreateEntriesResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[EntryResult]
    def __init__(self, results: _Optional[_Iterable[_Union[EntryResult, _Mapping]]] = ...) -> None: ...

class EntryResult(_message.Message):
    __slots__ = ("entry", "action")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    entry: Entry
    action: str
    def __init__(self, entry: _Optional[_Union[Entry, _Mapping]] = ..., action: _Optional[str] = ...) -> None: ...

class ListEntriesRequest(_message.Message):
    __slots__ = ("ids", "spiffe_id", "parent_id", "selectors", "origin", "hint", "federates_with", "expires_before")
    IDS_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    SELECTORS_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    FEDERATES_WITH_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_BEFORE_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    spiffe_id: str
    parent_id: str
    selectors: _containers.RepeatedScalarFieldContainer[str]
    origin: str
    hint: str
    federates_with: str
    expires_before: int
    def __init__(self, ids: _Optional[_Iterable[str]] = ..., spiffe_id: _Optional[str] = ..., parent_id: _Optional[str] = ..., selectors: _Optional[_Iterable[str]] = ..., origin: _Optional[str] = ..., hint: _Optional[str] = ..., federates_with: _Optional[str] = ..., expires_before: _Optional[int] = ...) -> None: ...

class ListEntriesResponse(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    def __init__(self, entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ...) -> None: ...

class CountEntriesResponse(_message.Message):
    __slots__ = ("count",)
    COUNT_FIELD_NUMBER: _ClassVar[int]
    count: int
    def __init__(self, count: _Optional[int] = ...) -> None: ...

class UpdateEntriesRequest(_message.Message):
    __slots__ = ("entries", "dry_run")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    dry_run: bool
    def __init__(self, entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class UpdateEntriesResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[EntryResult]
    def __init__(self, results: _Optional[_Iterable[_Union[EntryResult, _Mapping]]] = ...) -> None: ...

class ApplyEntriesRequest(_message.Message):
    __slots__ = ("entries", "prune", "dry_run")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    PRUNE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    prune: bool
    dry_run: bool
    def __init__(self, entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., prune: _Optional[bool] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class ApplyEntriesResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[EntryResult]
    def __init__(self, results: _Optional[_Iterable[_Union[EntryResult, _Mapping]]] = ...) -> None: ...

class ExplainEntryRequest(_message.Message):
    __slots__ = ("pid",)
    PID_FIELD_NUMBER: _ClassVar[int]
    pid: int
    def __init__(self, pid: _Optional[int] = ...) -> None: ...

class ExplainEntryResponse(_message.Message):
    __slots__ = ("selectors", "failures", "entries")
    SELECTORS_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    selectors: _containers.RepeatedScalarFieldContainer[str]
    failures: _containers.RepeatedScalarFieldContainer[str]
    entries: _containers.RepeatedCompositeFieldContainer[EntryMatch]
    def __init__(self, selectors: _Optional[_Iterable[str]] = ..., failures: _Optional[_Iterable[str]] = ..., entries: _Optional[_Iterable[_Union[EntryMatch, _Mapping]]] = ...) -> None: ...

class EntryMatch(_message.Message):
    __slots__ = ("entry_id", "spiffe_id", "selectors", "matches", "missing", "detail")
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    SELECTORS_FIELD_NUMBER: _ClassVar[int]
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    entry_id: str
    spiffe_id: str
    selectors: _containers.RepeatedScalarFieldContainer[str]
    matches: bool
    missing: _containers.RepeatedScalarFieldContainer[str]
    detail: str
    def __init__(self, entry_id: _Optional[str] = ..., spiffe_id: _Optional[str] = ..., selectors: _Optional[_Iterable[str]] = ..., matches: _Optional[bool] = ..., missing: _Optional[_Iterable[str]] = ..., detail: _Optional[str] = ...) -> None: ...

class DeleteEntriesRequest(_message.Message):
    __slots__ = ("ids", "dry_run")
    IDS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    dry_run: bool
    def __init__(self, ids: _Optional[_Iterable[str]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class DeleteEntriesResponse(_message.Message):
    __slots__ = ("deleted",)
    DELETED_FIELD_NUMBER: _ClassVar[int]
    deleted: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, deleted: _Optional[_Iterable[str]] = ...) -> None: ...

class ShowBundleRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ShowBundleResponse(_message.Message):
    __slots__ = ("bundle",)
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    bundle: bytes
    def __init__(self, bundle: _Optional[bytes] = ...) -> None: ...

class Document(_message.Message):
    __slots__ = ("path", "text")
    PATH_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    path: str
    text: bytes
    def __init__(self, path: _Optional[str] = ..., text: _Optional[bytes] = ...) -> None: ...

class ApplyPolicyRequest(_message.Message):
    __slots__ = ("documents", "dry_run", "author", "commit")
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    documents: _containers.RepeatedCompositeFieldContainer[Document]
    dry_run: bool
    author: str
    commit: str
    def __init__(self, documents: _Optional[_Iterable[_Union[Document, _Mapping]]] = ..., dry_run: _Optional[bool] = ..., author: _Optional[str] = ..., commit: _Optional[str] = ...) -> None: ...

class ApplyPolicyResponse(_message.Message):
    __slots__ = ("revision", "changes", "findings", "proxies")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    PROXIES_FIELD_NUMBER: _ClassVar[int]
    revision: str
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    proxies: int
    def __init__(self, revision: _Optional[str] = ..., changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., proxies: _Optional[int] = ...) -> None: ...

class ShowPolicyRequest(_message.Message):
    __slots__ = ("texts",)
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    texts: bool
    def __init__(self, texts: _Optional[bool] = ...) -> None: ...

class ShowPolicyResponse(_message.Message):
    __slots__ = ("revision", "documents")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    revision: str
    documents: _containers.RepeatedCompositeFieldContainer[DocumentStatus]
    def __init__(self, revision: _Optional[str] = ..., documents: _Optional[_Iterable[_Union[DocumentStatus, _Mapping]]] = ...) -> None: ...

class DocumentStatus(_message.Message):
    __slots__ = ("document", "path", "line", "state", "proxies", "applied", "refused", "text")
    class RefusedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PROXIES_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    document: str
    path: str
    line: int
    state: str
    proxies: int
    applied: int
    refused: _containers.ScalarMap[str, str]
    text: str
    def __init__(self, document: _Optional[str] = ..., path: _Optional[str] = ..., line: _Optional[int] = ..., state: _Optional[str] = ..., proxies: _Optional[int] = ..., applied: _Optional[int] = ..., refused: _Optional[_Mapping[str, str]] = ..., text: _Optional[str] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("document", "action")
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    document: str
    action: str
    def __init__(self, document: _Optional[str] = ..., action: _Optional[str] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("code", "level", "path", "line", "column", "message", "hint")
    CODE_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    code: str
    level: str
    path: str
    line: int
    column: int
    message: str
    hint: str
    def __init__(self, code: _Optional[str] = ..., level: _Optional[str] = ..., path: _Optional[str] = ..., line: _Optional[int] = ..., column: _Optional[int] = ..., message: _Optional[str] = ..., hint: _Optional[str] = ...) -> None: ...

class CheckAuthzRequest(_message.Message):
    __slots__ = ("source", "destination", "port", "method", "path", "headers", "tokens", "address")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    source: str
    destination: str
    port: str
    method: str
    path: str
    headers: _containers.RepeatedScalarFieldContainer[str]
    tokens: _containers.RepeatedScalarFieldContainer[str]
    address: str
    def __init__(self, source: _Optional[str] = ..., destination: _Optional[str] = ..., port: _Optional[str] = ..., method: _Optional[str] = ..., path: _Optional[str] = ..., headers: _Optional[_Iterable[str]] = ..., tokens: _Optional[_Iterable[str]] = ..., address: _Optional[str] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("id", "allowed", "rule", "rule_hash", "path", "line", "revision", "author", "commit", "source", "destination", "method", "request_path", "point", "time_ns", "reason", "owner", "shadow_rule", "status", "span_id", "attributes")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    RULE_HASH_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    REQUEST_PATH_FIELD_NUMBER: _ClassVar[int]
    POINT_FIELD_NUMBER: _ClassVar[int]
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    SHADOW_RULE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    id: str
    allowed: bool
    rule: str
    rule_hash: str
    path: str
    line: int
    revision: str
    author: str
    commit: str
    source: str
    destination: str
    method: str
    request_path: str
    point: str
    time_ns: int
    reason: str
    owner: str
    shadow_rule: str
    status: int
    span_id: str
    attributes: _containers.ScalarMap[str, str]
    def __init__(self, id: _Optional[str] = ..., allowed: _Optional[bool] = ..., rule: _Optional[str] = ..., rule_hash: _Optional[str] = ..., path: _Optional[str] = ..., line: _Optional[int] = ..., revision: _Optional[str] = ..., author: _Optional[str] = ..., commit: _Optional[str] = ..., source: _Optional[str] = ..., destination: _Optional[str] = ..., method: _Optional[str] = ..., request_path: _Optional[str] = ..., point: _Optional[str] = ..., time_ns: _Optional[int] = ..., reason: _Optional[str] = ..., owner: _Optional[str] = ..., shadow_rule: _Optional[str] = ..., status: _Optional[int] = ..., span_id: _Optional[str] = ..., attributes: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ExplainAuthzRequest(_message.Message):
    __slots__ = ("id", "wait_ms")
    ID_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    id: str
    wait_ms: int
    def __init__(self, id: _Optional[str] = ..., wait_ms: _Optional[int] = ...) -> None: ...

class ExplainAuthzResponse(_message.Message):
    __slots__ = ("decisions",)
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    decisions: _containers.RepeatedCompositeFieldContainer[Decision]
    def __init__(self, decisions: _Optional[_Iterable[_Union[Decision, _Mapping]]] = ...) -> None: ...

class TailAuthzRequest(_message.Message):
    __slots__ = ("follow", "denied_only", "source", "destination", "rule", "last")
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    DENIED_ONLY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    follow: bool
    denied_only: bool
    source: str
    destination: str
    rule: str
    last: int
    def __init__(self, follow: _Optional[bool] = ..., denied_only: _Optional[bool] = ..., source: _Optional[str] = ..., destination: _Optional[str] = ..., rule: _Optional[str] = ..., last: _Optional[int] = ...) -> None: ...

class ListDeparturesRequest(_message.Message):
    __slots__ = ("denied_only",)
    DENIED_ONLY_FIELD_NUMBER: _ClassVar[int]
    denied_only: bool
    def __init__(self, denied_only: _Optional[bool] = ...) -> None: ...

class ListDeparturesResponse(_message.Message):
    __slots__ = ("departures", "dropped")
    DEPARTURES_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    departures: _containers.RepeatedCompositeFieldContainer[Departure]
    dropped: int
    def __init__(self, departures: _Optional[_Iterable[_Union[Departure, _Mapping]]] = ..., dropped: _Optional[int] = ...) -> None: ...

class Departure(_message.Message):
    __slots__ = ("spiffe_id", "host", "allowed", "rule", "count", "first_ns", "last_ns", "next")
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    FIRST_NS_FIELD_NUMBER: _ClassVar[int]
    LAST_NS_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    spiffe_id: str
    host: str
    allowed: bool
    rule: str
    count: int
    first_ns: int
    last_ns: int
    next: str
    def __init__(self, spiffe_id: _Optional[str] = ..., host: _Optional[str] = ..., allowed: _Optional[bool] = ..., rule: _Optional[str] = ..., count: _Optional[int] = ..., first_ns: _Optional[int] = ..., last_ns: _Optional[int] = ..., next: _Optional[str] = ...) -> None: ...

class ListProxiesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListProxiesResponse(_message.Message):
    __slots__ = ("proxies",)
    PROXIES_FIELD_NUMBER: _ClassVar[int]
    proxies: _containers.RepeatedCompositeFieldContainer[ProxyStatus]
    def __init__(self, proxies: _Optional[_Iterable[_Union[ProxyStatus, _Mapping]]] = ...) -> None: ...

class ProxyStatus(_message.Message):
    __slots__ = ("spiffe_id", "node", "revision", "state", "detail", "inbound", "region", "zone", "connected_at", "answered_at")
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    INBOUND_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_AT_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_AT_FIELD_NUMBER: _ClassVar[int]
    spiffe_id: str
    node: str
    revision: str
    state: str
    detail: str
    inbound: _containers.RepeatedScalarFieldContainer[str]
    region: str
    zone: str
    connected_at: int
    answered_at: int
    def __init__(self, spiffe_id: _Optional[str] = ..., node: _Optional[str] = ..., revision: _Optional[str] = ..., state: _Optional[str] = ..., detail: _Optional[str] = ..., inbound: _Optional[_Iterable[str]] = ..., region: _Optional[str] = ..., zone: _Optional[str] = ..., connected_at: _Optional[int] = ..., answered_at: _Optional[int] = ...) -> None: ...

class WatchProxiesRequest(_message.Message):
    __slots__ = ("revision", "names", "timeout_ms")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    revision: str
    names: _containers.RepeatedScalarFieldContainer[str]
    timeout_ms: int
    def __init__(self, revision: _Optional[str] = ..., names: _Optional[_Iterable[str]] = ..., timeout_ms: _Optional[int] = ...) -> None: ...

class WatchProxiesResponse(_message.Message):
    __slots__ = ("outcome", "revision", "meant", "holding", "late", "missing")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    MEANT_FIELD_NUMBER: _ClassVar[int]
    HOLDING_FIELD_NUMBER: _ClassVar[int]
    LATE_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    outcome: str
    revision: str
    meant: int
    holding: int
    late: _containers.RepeatedCompositeFieldContainer[ProxyStatus]
    missing: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, outcome: _Optional[str] = ..., revision: _Optional[str] = ..., meant: _Optional[int] = ..., holding: _Optional[int] = ..., late: _Optional[_Iterable[_Union[ProxyStatus, _Mapping]]] = ..., missing: _Optional[_Iterable[str]] = ...) -> None: ...

class ShowProxiesRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ShowProxiesResponse(_message.Message):
    __slots__ = ("proxies",)
    PROXIES_FIELD_NUMBER: _ClassVar[int]
    proxies: _containers.RepeatedCompositeFieldContainer[ProxyDump]
    def __init__(self, proxies: _Optional[_Iterable[_Union[ProxyDump, _Mapping]]] = ...) -> None: ...

class ProxyDump(_message.Message):
    __slots__ = ("spiffe_id", "node", "state", "revision", "proxyless", "resources")
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    PROXYLESS_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    spiffe_id: str
    node: str
    state: str
    revision: str
    proxyless: bool
    resources: _containers.RepeatedCompositeFieldContainer[SentResource]
    def __init__(self, spiffe_id: _Optional[str] = ..., node: _Optional[str] = ..., state: _Optional[str] = ..., revision: _Optional[str] = ..., proxyless: _Optional[bool] = ..., resources: _Optional[_Iterable[_Union[SentResource, _Mapping]]] = ...) -> None: ...

class SentResource(_message.Message):
    __slots__ = ("type_url", "name", "version", "state", "any")
    TYPE_URL_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ANY_FIELD_NUMBER: _ClassVar[int]
    type_url: str
    name: str
    version: str
    state: str
    any: bytes
    def __init__(self, type_url: _Optional[str] = ..., name: _Optional[str] = ..., version: _Optional[str] = ..., state: _Optional[str] = ..., any: _Optional[bytes] = ...) -> None: ...

class RotateRequest(_message.Message):
    __slots__ = ("authority",)
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    authority: bool
    def __init__(self, authority: _Optional[bool] = ...) -> None: ...

class RotateResponse(_message.Message):
    __slots__ = ("authority", "agents")
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    authority: str
    agents: int
    def __init__(self, authority: _Optional[str] = ..., agents: _Optional[int] = ...) -> None: ...

class ShowAuthoritiesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ShowAuthoritiesResponse(_message.Message):
    __slots__ = ("authorities",)
    AUTHORITIES_FIELD_NUMBER: _ClassVar[int]
    authorities: _containers.RepeatedCompositeFieldContainer[Authority]
    def __init__(self, authorities: _Optional[_Iterable[_Union[Authority, _Mapping]]] = ...) -> None: ...

class Authority(_message.Message):
    __slots__ = ("kind", "slot", "id", "not_before", "not_after", "state", "upstream")
    KIND_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_FIELD_NUMBER: _ClassVar[int]
    kind: str
    slot: str
    id: str
    not_before: int
    not_after: int
    state: str
    upstream: str
    def __init__(self, kind: _Optional[str] = ..., slot: _Optional[str] = ..., id: _Optional[str] = ..., not_before: _Optional[int] = ..., not_after: _Optional[int] = ..., state: _Optional[str] = ..., upstream: _Optional[str] = ...) -> None: ...

class StepAuthorityRequest(_message.Message):
    __slots__ = ("kind", "step", "id", "dry_run")
    KIND_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    kind: str
    step: str
    id: str
    dry_run: bool
    def __init__(self, kind: _Optional[str] = ..., step: _Optional[str] = ..., id: _Optional[str] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class StepAuthorityResponse(_message.Message):
    __slots__ = ("authority", "sequence", "agents")
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    authority: Authority
    sequence: int
    agents: int
    def __init__(self, authority: _Optional[_Union[Authority, _Mapping]] = ..., sequence: _Optional[int] = ..., agents: _Optional[int] = ...) -> None: ...

class LaunchRequest(_message.Message):
    __slots__ = ("namespace", "name", "rank")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    rank: int
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., rank: _Optional[int] = ...) -> None: ...

class LaunchResponse(_message.Message):
    __slots__ = ("server", "trust_domain", "workload_socket", "otlp", "servers", "region", "zone", "cuts", "job")
    SERVER_FIELD_NUMBER: _ClassVar[int]
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    WORKLOAD_SOCKET_FIELD_NUMBER: _ClassVar[int]
    OTLP_FIELD_NUMBER: _ClassVar[int]
    SERVERS_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    CUTS_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    server: str
    trust_domain: str
    workload_socket: str
    otlp: str
    servers: _containers.RepeatedScalarFieldContainer[str]
    region: str
    zone: str
    cuts: bool
    job: str
    def __init__(self, server: _Optional[str] = ..., trust_domain: _Optional[str] = ..., workload_socket: _Optional[str] = ..., otlp: _Optional[str] = ..., servers: _Optional[_Iterable[str]] = ..., region: _Optional[str] = ..., zone: _Optional[str] = ..., cuts: _Optional[bool] = ..., job: _Optional[str] = ...) -> None: ...

class ListNodesRequest(_message.Message):
    __slots__ = ("spiffe_ids", "attestor")
    SPIFFE_IDS_FIELD_NUMBER: _ClassVar[int]
    ATTESTOR_FIELD_NUMBER: _ClassVar[int]
    spiffe_ids: _containers.RepeatedScalarFieldContainer[str]
    attestor: str
    def __init__(self, spiffe_ids: _Optional[_Iterable[str]] = ..., attestor: _Optional[str] = ...) -> None: ...

class ListNodesResponse(_message.Message):
    __slots__ = ("nodes",)
    NODES_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    def __init__(self, nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("spiffe_id", "attestor", "attested_at", "expires_at", "serial", "banned", "streams", "selectors", "can_reattest", "reason")
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    ATTESTOR_FIELD_NUMBER: _ClassVar[int]
    ATTESTED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    BANNED_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    SELECTORS_FIELD_NUMBER: _ClassVar[int]
    CAN_REATTEST_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    spiffe_id: str
    attestor: str
    attested_at: int
    expires_at: int
    serial: str
    banned: bool
    streams: int
    selectors: _containers.RepeatedScalarFieldContainer[str]
    can_reattest: bool
    reason: str
    def __init__(self, spiffe_id: _Optional[str] = ..., attestor: _Optional[str] = ..., attested_at: _Optional[int] = ..., expires_at: _Optional[int] = ..., serial: _Optional[str] = ..., banned: _Optional[bool] = ..., streams: _Optional[int] = ..., selectors: _Optional[_Iterable[str]] = ..., can_reattest: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class EvictNodesRequest(_message.Message):
    __slots__ = ("spiffe_ids", "dry_run")
    SPIFFE_IDS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    spiffe_ids: _containers.RepeatedScalarFieldContainer[str]
    dry_run: bool
    def __init__(self, spiffe_ids: _Optional[_Iterable[str]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class BanNodesRequest(_message.Message):
    __slots__ = ("spiffe_ids", "lift", "dry_run", "reason")
    SPIFFE_IDS_FIELD_NUMBER: _ClassVar[int]
    LIFT_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    spiffe_ids: _containers.RepeatedScalarFieldContainer[str]
    lift: bool
    dry_run: bool
    reason: str
    def __init__(self, spiffe_ids: _Optional[_Iterable[str]] = ..., lift: _Optional[bool] = ..., dry_run: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class NodeResults(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[NodeResult]
    def __init__(self, results: _Optional[_Iterable[_Union[NodeResult, _Mapping]]] = ...) -> None: ...

class NodeResult(_message.Message):
    __slots__ = ("spiffe_id", "action", "streams")
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    spiffe_id: str
    action: str
    streams: int
    def __init__(self, spiffe_id: _Optional[str] = ..., action: _Optional[str] = ..., streams: _Optional[int] = ...) -> None: ...

class FederatedBundle(_message.Message):
    __slots__ = ("trust_domain", "bundle", "changed_at", "action", "entries")
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    CHANGED_AT_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    trust_domain: str
    bundle: bytes
    changed_at: int
    action: str
    entries: int
    def __init__(self, trust_domain: _Optional[str] = ..., bundle: _Optional[bytes] = ..., changed_at: _Optional[int] = ..., action: _Optional[str] = ..., entries: _Optional[int] = ...) -> None: ...

class ListBundlesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListBundlesResponse(_message.Message):
    __slots__ = ("bundles",)
    BUNDLES_FIELD_NUMBER: _ClassVar[int]
    bundles: _containers.RepeatedCompositeFieldContainer[FederatedBundle]
    def __init__(self, bundles: _Optional[_Iterable[_Union[FederatedBundle, _Mapping]]] = ...) -> None: ...

class SetBundleRequest(_message.Message):
    __slots__ = ("trust_domain", "bundle", "dry_run")
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    trust_domain: str
    bundle: bytes
    dry_run: bool
    def __init__(self, trust_domain: _Optional[str] = ..., bundle: _Optional[bytes] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class DeleteBundleRequest(_message.Message):
    __slots__ = ("trust_domain", "force", "mode", "dry_run")
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    trust_domain: str
    force: bool
    mode: str
    dry_run: bool
    def __init__(self, trust_domain: _Optional[str] = ..., force: _Optional[bool] = ..., mode: _Optional[str] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class DeleteBundleResponse(_message.Message):
    __slots__ = ("deleted", "entries")
    DELETED_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    deleted: bool
    entries: int
    def __init__(self, deleted: _Optional[bool] = ..., entries: _Optional[int] = ...) -> None: ...

class Federation(_message.Message):
    __slots__ = ("trust_domain", "url", "profile", "endpoint_id", "bootstrap", "created_at", "refreshed_at", "next_at", "sequence", "failure", "action", "dry_run")
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    BOOTSTRAP_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    REFRESHED_AT_FIELD_NUMBER: _ClassVar[int]
    NEXT_AT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    trust_domain: str
    url: str
    profile: str
    endpoint_id: str
    bootstrap: bytes
    created_at: int
    refreshed_at: int
    next_at: int
    sequence: int
    failure: str
    action: str
    dry_run: bool
    def __init__(self, trust_domain: _Optional[str] = ..., url: _Optional[str] = ..., profile: _Optional[str] = ..., endpoint_id: _Optional[str] = ..., bootstrap: _Optional[bytes] = ..., created_at: _Optional[int] = ..., refreshed_at: _Optional[int] = ..., next_at: _Optional[int] = ..., sequence: _Optional[int] = ..., failure: _Optional[str] = ..., action: _Optional[str] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class ListFederationsRequest(_message.Message):
    __slots__ = ("trust_domain",)
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    trust_domain: str
    def __init__(self, trust_domain: _Optional[str] = ...) -> None: ...

class ListFederationsResponse(_message.Message):
    __slots__ = ("federations",)
    FEDERATIONS_FIELD_NUMBER: _ClassVar[int]
    federations: _containers.RepeatedCompositeFieldContainer[Federation]
    def __init__(self, federations: _Optional[_Iterable[_Union[Federation, _Mapping]]] = ...) -> None: ...

class RefreshFederationRequest(_message.Message):
    __slots__ = ("trust_domain",)
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    trust_domain: str
    def __init__(self, trust_domain: _Optional[str] = ...) -> None: ...

class DeleteFederationRequest(_message.Message):
    __slots__ = ("trust_domain", "dry_run")
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    trust_domain: str
    dry_run: bool
    def __init__(self, trust_domain: _Optional[str] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class DeleteFederationResponse(_message.Message):
    __slots__ = ("deleted",)
    DELETED_FIELD_NUMBER: _ClassVar[int]
    deleted: bool
    def __init__(self, deleted: _Optional[bool] = ...) -> None: ...

class ListIdentitiesRequest(_message.Message):
    __slots__ = ("serial", "spiffe_id", "node", "state", "expiring", "after")
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    EXPIRING_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    serial: str
    spiffe_id: str
    node: str
    state: str
    expiring: int
    after: str
    def __init__(self, serial: _Optional[str] = ..., spiffe_id: _Optional[str] = ..., node: _Optional[str] = ..., state: _Optional[str] = ..., expiring: _Optional[int] = ..., after: _Optional[str] = ...) -> None: ...

class ListIdentitiesResponse(_message.Message):
    __slots__ = ("identities", "next")
    IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    identities: _containers.RepeatedCompositeFieldContainer[Identity]
    next: str
    def __init__(self, identities: _Optional[_Iterable[_Union[Identity, _Mapping]]] = ..., next: _Optional[str] = ...) -> None: ...

class Identity(_message.Message):
    __slots__ = ("serial", "kind", "spiffe_id", "entry_id", "node", "authority", "recorded_at", "expires_at", "state", "reason", "renews", "renewed_by")
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    RECORDED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RENEWS_FIELD_NUMBER: _ClassVar[int]
    RENEWED_BY_FIELD_NUMBER: _ClassVar[int]
    serial: str
    kind: str
    spiffe_id: str
    entry_id: str
    node: str
    authority: str
    recorded_at: int
    expires_at: int
    state: str
    reason: str
    renews: str
    renewed_by: str
    def __init__(self, serial: _Optional[str] = ..., kind: _Optional[str] = ..., spiffe_id: _Optional[str] = ..., entry_id: _Optional[str] = ..., node: _Optional[str] = ..., authority: _Optional[str] = ..., recorded_at: _Optional[int] = ..., expires_at: _Optional[int] = ..., state: _Optional[str] = ..., reason: _Optional[str] = ..., renews: _Optional[str] = ..., renewed_by: _Optional[str] = ...) -> None: ...

class ExplainIdentityRequest(_message.Message):
    __slots__ = ("subject",)
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    subject: str
    def __init__(self, subject: _Optional[str] = ...) -> None: ...

class ExplainIdentityResponse(_message.Message):
    __slots__ = ("reasons",)
    REASONS_FIELD_NUMBER: _ClassVar[int]
    reasons: _containers.RepeatedCompositeFieldContainer[IdentityReason]
    def __init__(self, reasons: _Optional[_Iterable[_Union[IdentityReason, _Mapping]]] = ...) -> None: ...

class IdentityReason(_message.Message):
    __slots__ = ("entry", "path", "line", "revision", "why", "ttl", "why_ttl", "identity")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    WHY_TTL_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    entry: Entry
    path: str
    line: int
    revision: str
    why: str
    ttl: int
    why_ttl: str
    identity: Identity
    def __init__(self, entry: _Optional[_Union[Entry, _Mapping]] = ..., path: _Optional[str] = ..., line: _Optional[int] = ..., revision: _Optional[str] = ..., why: _Optional[str] = ..., ttl: _Optional[int] = ..., why_ttl: _Optional[str] = ..., identity: _Optional[_Union[Identity, _Mapping]] = ...) -> None: ...

class DescribeCallerRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeCallerResponse(_message.Message):
    __slots__ = ("subject", "admin", "edits", "views", "views_all", "because")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    ADMIN_FIELD_NUMBER: _ClassVar[int]
    EDITS_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    VIEWS_ALL_FIELD_NUMBER: _ClassVar[int]
    BECAUSE_FIELD_NUMBER: _ClassVar[int]
    subject: str
    admin: bool
    edits: _containers.RepeatedScalarFieldContainer[str]
    views: _containers.RepeatedScalarFieldContainer[str]
    views_all: bool
    because: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, subject: _Optional[str] = ..., admin: _Optional[bool] = ..., edits: _Optional[_Iterable[str]] = ..., views: _Optional[_Iterable[str]] = ..., views_all: _Optional[bool] = ..., because: _Optional[_Iterable[str]] = ...) -> None: ...

class CheckAccessRequest(_message.Message):
    __slots__ = ("method", "namespace")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    method: str
    namespace: str
    def __init__(self, method: _Optional[str] = ..., namespace: _Optional[str] = ...) -> None: ...

class CheckAccessResponse(_message.Message):
    __slots__ = ("allowed", "detail")
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    allowed: bool
    detail: str
    def __init__(self, allowed: _Optional[bool] = ..., detail: _Optional[str] = ...) -> None: ...

class RevokeIdentitiesRequest(_message.Message):
    __slots__ = ("spiffe_ids", "serials", "nodes", "reason", "code", "until", "dry_run")
    SPIFFE_IDS_FIELD_NUMBER: _ClassVar[int]
    SERIALS_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    spiffe_ids: _containers.RepeatedScalarFieldContainer[str]
    serials: _containers.RepeatedScalarFieldContainer[str]
    nodes: _containers.RepeatedScalarFieldContainer[str]
    reason: str
    code: str
    until: int
    dry_run: bool
    def __init__(self, spiffe_ids: _Optional[_Iterable[str]] = ..., serials: _Optional[_Iterable[str]] = ..., nodes: _Optional[_Iterable[str]] = ..., reason: _Optional[str] = ..., code: _Optional[str] = ..., until: _Optional[int] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class RevokeIdentitiesResponse(_message.Message):
    __slots__ = ("results", "agents", "proxies", "connections")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    PROXIES_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[RevocationResult]
    agents: int
    proxies: int
    connections: int
    def __init__(self, results: _Optional[_Iterable[_Union[RevocationResult, _Mapping]]] = ..., agents: _Optional[int] = ..., proxies: _Optional[int] = ..., connections: _Optional[int] = ...) -> None: ...

class RevocationResult(_message.Message):
    __slots__ = ("subject", "kind", "action", "documents")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    subject: str
    kind: str
    action: str
    documents: int
    def __init__(self, subject: _Optional[str] = ..., kind: _Optional[str] = ..., action: _Optional[str] = ..., documents: _Optional[int] = ...) -> None: ...

class LiftRevocationsRequest(_message.Message):
    __slots__ = ("spiffe_ids", "dry_run")
    SPIFFE_IDS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    spiffe_ids: _containers.RepeatedScalarFieldContainer[str]
    dry_run: bool
    def __init__(self, spiffe_ids: _Optional[_Iterable[str]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class LiftRevocationsResponse(_message.Message):
    __slots__ = ("results", "agents")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[RevocationResult]
    agents: int
    def __init__(self, results: _Optional[_Iterable[_Union[RevocationResult, _Mapping]]] = ..., agents: _Optional[int] = ...) -> None: ...

class ListRevocationsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListRevocationsResponse(_message.Message):
    __slots__ = ("identities", "certificates", "lists")
    IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    LISTS_FIELD_NUMBER: _ClassVar[int]
    identities: _containers.RepeatedCompositeFieldContainer[RevokedIdentity]
    certificates: _containers.RepeatedCompositeFieldContainer[RevokedCertificate]
    lists: _containers.RepeatedCompositeFieldContainer[RevocationList]
    def __init__(self, identities: _Optional[_Iterable[_Union[RevokedIdentity, _Mapping]]] = ..., certificates: _Optional[_Iterable[_Union[RevokedCertificate, _Mapping]]] = ..., lists: _Optional[_Iterable[_Union[RevocationList, _Mapping]]] = ...) -> None: ...

class RevokedIdentity(_message.Message):
    __slots__ = ("spiffe_id", "revoked_at", "reason", "by", "until")
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    REVOKED_AT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    spiffe_id: str
    revoked_at: int
    reason: str
    by: str
    until: int
    def __init__(self, spiffe_id: _Optional[str] = ..., revoked_at: _Optional[int] = ..., reason: _Optional[str] = ..., by: _Optional[str] = ..., until: _Optional[int] = ...) -> None: ...

class RevokedCertificate(_message.Message):
    __slots__ = ("serial", "spiffe_id", "node", "authority", "revoked_at", "expires_at", "code", "reason")
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    REVOKED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    serial: str
    spiffe_id: str
    node: str
    authority: str
    revoked_at: int
    expires_at: int
    code: str
    reason: str
    def __init__(self, serial: _Optional[str] = ..., spiffe_id: _Optional[str] = ..., node: _Optional[str] = ..., authority: _Optional[str] = ..., revoked_at: _Optional[int] = ..., expires_at: _Optional[int] = ..., code: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RevocationList(_message.Message):
    __slots__ = ("authority", "number", "this_update", "next_update", "crl")
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    THIS_UPDATE_FIELD_NUMBER: _ClassVar[int]
    NEXT_UPDATE_FIELD_NUMBER: _ClassVar[int]
    CRL_FIELD_NUMBER: _ClassVar[int]
    authority: str
    number: int
    this_update: int
    next_update: int
    crl: bytes
    def __init__(self, authority: _Optional[str] = ..., number: _Optional[int] = ..., this_update: _Optional[int] = ..., next_update: _Optional[int] = ..., crl: _Optional[bytes] = ...) -> None: ...
