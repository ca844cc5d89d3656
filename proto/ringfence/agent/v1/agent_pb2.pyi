from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AttestRequest(_message.Message):
    __slots__ = ("join_token", "x509pop", "k8s_psat", "tpm_devid", "csr")
    JOIN_TOKEN_FIELD_NUMBER: _ClassVar[int]
    X509POP_FIELD_NUMBER: _ClassVar[int]
    K8S_PSAT_FIELD_NUMBER: _ClassVar[int]
    TPM_DEVID_FIELD_NUMBER: _ClassVar[int]
    CSR_FIELD_NUMBER: _ClassVar[int]
    join_token: str
    x509pop: X509Pop
    k8s_psat: K8sPsat
    tpm_devid: TpmDevid
    csr: bytes
    def __init__(self, join_token: _Optional[str] = ..., x509pop: _Optional[_Union[X509Pop, _Mapping]] = ..., k8s_psat: _Optional[_Union[K8sPsat, _Mapping]] = ..., tpm_devid: _Optional[_Union[TpmDevid, _Mapping]] = ..., csr: _Optional[bytes] = ...) -> None: ...

class ChallengeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ChallengeResponse(_message.Message):
    __slots__ = ("nonce",)
    NONCE_FIELD_NUMBER: _ClassVar[int]
    nonce: bytes
    def __init__(self, nonce: _Optional[bytes] = ...) -> None: ...

class X509Pop(_message.Message):
    __slots__ = ("chain", "signature")
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    chain: _containers.RepeatedScalarFieldContainer[bytes]
    signature: bytes
    def __init__(self, chain: _Optional[_Iterable[bytes]] = ..., signature: _Optional[bytes] = ...) -> None: ...

class K8sPsat(_message.Message):
    __slots__ = ("cluster", "token")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    token: str
    def __init__(self, cluster: _Optional[str] = ..., token: _Optional[str] = ...) -> None: ...

class TpmDevid(_message.Message):
    __slots__ = ("chain", "devid", "signature", "endorsement_certificate", "endorsement", "attestation", "certification", "certification_signature", "secret")
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    DEVID_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    ENDORSEMENT_CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    ENDORSEMENT_FIELD_NUMBER: _ClassVar[int]
    ATTESTATION_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATION_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATION_SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    chain: _containers.RepeatedScalarFieldContainer[bytes]
    devid: bytes
    signature: bytes
    endorsement_certificate: bytes
    endorsement: bytes
    attestation: bytes
    certification: bytes
    certification_signature: bytes
    secret: bytes
    def __init__(self, chain: _Optional[_Iterable[bytes]] = ..., devid: _Optional[bytes] = ..., signature: _Optional[bytes] = ..., endorsement_certificate: _Optional[bytes] = ..., endorsement: _Optional[bytes] = ..., attestation: _Optional[bytes] = ..., certification: _Optional[bytes] = ..., certification_signature: _Optional[bytes] = ..., secret: _Optional[bytes] = ...) -> None: ...

class AttestResponse(_message.Message):
    __slots__ = ("spiffe_id", "chain", "bundle", "tpm_credential")
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    TPM_CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    spiffe_id: str
    chain: _containers.RepeatedScalarFieldContainer[bytes]
    bundle: bytes
    tpm_credential: TpmCredential
    def __init__(self, spiffe_id: _Optional[str] = ..., chain: _Optional[_Iterable[bytes]] = ..., bundle: _Optional[bytes] = ..., tpm_credential: _Optional[_Union[TpmCredential, _Mapping]] = ...) -> None: ...

class TpmCredential(_message.Message):
    __slots__ = ("id_object", "encrypted_secret")
    ID_OBJECT_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTED_SECRET_FIELD_NUMBER: _ClassVar[int]
    id_object: bytes
    encrypted_secret: bytes
    def __init__(self, id_object: _Optional[bytes] = ..., encrypted_secret: _Optional[bytes] = ...) -> None: ...

class AgentMessage(_message.Message):
    __slots__ = ("hello", "svids", "jwt", "renew", "unknown_key", "wit", "fabric_claims", "fabric_applied")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    SVIDS_FIELD_NUMBER: _ClassVar[int]
    JWT_FIELD_NUMBER: _ClassVar[int]
    RENEW_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_KEY_FIELD_NUMBER: _ClassVar[int]
    WIT_FIELD_NUMBER: _ClassVar[int]
    FABRIC_CLAIMS_FIELD_NUMBER: _ClassVar[int]
    FABRIC_APPLIED_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    svids: SvidRequest
    jwt: JwtRequest
    renew: RenewRequest
    unknown_key: UnknownKey
    wit: WitRequest
    fabric_claims: FabricClaims
    fabric_applied: FabricApplied
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., svids: _Optional[_Union[SvidRequest, _Mapping]] = ..., jwt: _Optional[_Union[JwtRequest, _Mapping]] = ..., renew: _Optional[_Union[RenewRequest, _Mapping]] = ..., unknown_key: _Optional[_Union[UnknownKey, _Mapping]] = ..., wit: _Optional[_Union[WitRequest, _Mapping]] = ..., fabric_claims: _Optional[_Union[FabricClaims, _Mapping]] = ..., fabric_applied: _Optional[_Union[FabricApplied, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("version", "revision", "bundle_digest", "federated_digest", "revoked_digest", "fabrics")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    FEDERATED_DIGEST_FIELD_NUMBER: _ClassVar[int]
    REVOKED_DIGEST_FIELD_NUMBER: _ClassVar[int]
    FABRICS_FIELD_NUMBER: _ClassVar[int]
    version: str
    revision: int
    bundle_digest: bytes
    federated_digest: bytes
    revoked_digest: bytes
    fabrics: bool
    def __init__(self, version: _Optional[str] = ..., revision: _Optional[int] = ..., bundle_digest: _Optional[bytes] = ..., federated_digest: _Optional[bytes] = ..., revoked_digest: _Optional[bytes] = ..., fabrics: _Optional[bool] = ...) -> None: ...

class SvidRequest(_message.Message):
    __slots__ = ("id", "items")
    ID_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    id: int
    items: _containers.RepeatedCompositeFieldContainer[SvidItem]
    def __init__(self, id: _Optional[int] = ..., items: _Optional[_Iterable[_Union[SvidItem, _Mapping]]] = ...) -> None: ...

class SvidItem(_message.Message):
    __slots__ = ("entry_id", "csr")
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    CSR_FIELD_NUMBER: _ClassVar[int]
    entry_id: str
    csr: bytes
    def __init__(self, entry_id: _Optional[str] = ..., csr: _Optional[bytes] = ...) -> None: ...

class JwtRequest(_message.Message):
    __slots__ = ("id", "entry_id", "audience")
    ID_FIELD_NUMBER: _ClassVar[int]
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    id: int
    entry_id: str
    audience: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[int] = ..., entry_id: _Optional[str] = ..., audience: _Optional[_Iterable[str]] = ...) -> None: ...

class UnknownKey(_message.Message):
    __slots__ = ("trust_domain", "key_id")
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    trust_domain: str
    key_id: str
    def __init__(self, trust_domain: _Optional[str] = ..., key_id: _Optional[str] = ...) -> None: ...

class WitRequest(_message.Message):
    __slots__ = ("id", "entry_id", "csr")
    ID_FIELD_NUMBER: _ClassVar[int]
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    CSR_FIELD_NUMBER: _ClassVar[int]
    id: int
    entry_id: str
    csr: bytes
    def __init__(self, id: _Optional[int] = ..., entry_id: _Optional[str] = ..., csr: _Optional[bytes] = ...) -> None: ...

class FabricClaims(_message.Message):
    __slots__ = ("claims",)
    CLAIMS_FIELD_NUMBER: _ClassVar[int]
    claims: _containers.RepeatedCompositeFieldContainer[FabricClaim]
    def __init__(self, claims: _Optional[_Iterable[_Union[FabricClaim, _Mapping]]] = ...) -> None: ...

class FabricClaim(_message.Message):
    __slots__ = ("fabric", "job", "entry_id", "addresses", "spiffe_id")
    FABRIC_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    fabric: str
    job: str
    entry_id: str
    addresses: _containers.RepeatedScalarFieldContainer[str]
    spiffe_id: str
    def __init__(self, fabric: _Optional[str] = ..., job: _Optional[str] = ..., entry_id: _Optional[str] = ..., addresses: _Optional[_Iterable[str]] = ..., spiffe_id: _Optional[str] = ...) -> None: ...

class FabricApplied(_message.Message):
    __slots__ = ("revision", "code", "detail")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    revision: int
    code: int
    detail: str
    def __init__(self, revision: _Optional[int] = ..., code: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...

class RenewRequest(_message.Message):
    __slots__ = ("id", "csr")
    ID_FIELD_NUMBER: _ClassVar[int]
    CSR_FIELD_NUMBER: _ClassVar[int]
    id: int
    csr: bytes
    def __init__(self, id: _Optional[int] = ..., csr: _Optional[bytes] = ...) -> None: ...

class ServerMessage(_message.Message):
    __slots__ = ("entries", "bundle", "svids", "jwt", "renew", "revocations", "rotate", "revoked", "wit", "fabrics")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    SVIDS_FIELD_NUMBER: _ClassVar[int]
    JWT_FIELD_NUMBER: _ClassVar[int]
    RENEW_FIELD_NUMBER: _ClassVar[int]
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    ROTATE_FIELD_NUMBER: _ClassVar[int]
    REVOKED_FIELD_NUMBER: _ClassVar[int]
    WIT_FIELD_NUMBER: _ClassVar[int]
    FABRICS_FIELD_NUMBER: _ClassVar[int]
    entries: EntriesUpdate
    bundle: BundleUpdate
    svids: SvidResponse
    jwt: JwtResponse
    renew: RenewResponse
    revocations: Revocations
    rotate: Rotate
    revoked: RevokedUpdate
    wit: WitResponse
    fabrics: FabricsUpdate
    def __init__(self, entries: _Optional[_Union[EntriesUpdate, _Mapping]] = ..., bundle: _Optional[_Union[BundleUpdate, _Mapping]] = ..., svids: _Optional[_Union[SvidResponse, _Mapping]] = ..., jwt: _Optional[_Union[JwtResponse, _Mapping]] = ..., renew: _Optional[_Union[RenewResponse, _Mapping]] = ..., revocations: _Optional[_Union[Revocations, _Mapping]] = ..., rotate: _Optional[_Union[Rotate, _Mapping]] = ..., revoked: _Optional[_Union[RevokedUpdate, _Mapping]] = ..., wit: _Optional[_Union[WitResponse, _Mapping]] = ..., fabrics: _Optional[_Union[FabricsUpdate, _Mapping]] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("id", "spiffe_id", "selectors", "x509_ttl", "jwt_ttl", "dns_names", "hint", "created_at", "expires_at", "federates_with", "store_svid", "template")
    ID_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    SELECTORS_FIELD_NUMBER: _ClassVar[int]
    X509_TTL_FIELD_NUMBER: _ClassVar[int]
    JWT_TTL_FIELD_NUMBER: _ClassVar[int]
    DNS_NAMES_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    FEDERATES_WITH_FIELD_NUMBER: _ClassVar[int]
    STORE_SVID_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    id: str
    spiffe_id: str
    selectors: _containers.RepeatedScalarFieldContainer[str]
    x509_ttl: int
    jwt_ttl: int
    dns_names: _containers.RepeatedScalarFieldContainer[str]
    hint: str
    created_at: int
    expires_at: int
    federates_with: _containers.RepeatedScalarFieldContainer[str]
    store_svid: bool
    template: str
    def __init__(self, id: _Optional[str] = ..., spiffe_id: _Optional[str] = ..., selectors: _Optional[_Iterable[str]] = ..., x509_ttl: _Optional[int] = ..., jwt_ttl: _Optional[int] = ..., dns_names: _Optional[_Iterable[str]] = ..., hint: _Optional[str] = ..., created_at: _Optional[int] = ..., expires_at: _Optional[int] = ..., federates_with: _Optional[_Iterable[str]] = ..., store_svid: _Optional[bool] = ..., template: _Optional[str] = ...) -> None: ...

class LaunchRule(_message.Message):
    __slots__ = ("namespace", "name", "by", "job")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    by: _containers.RepeatedCompositeFieldContainer[SelectorSet]
    job: str
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., by: _Optional[_Iterable[_Union[SelectorSet, _Mapping]]] = ..., job: _Optional[str] = ...) -> None: ...

class SelectorSet(_message.Message):
    __slots__ = ("selectors",)
    SELECTORS_FIELD_NUMBER: _ClassVar[int]
    selectors: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, selectors: _Optional[_Iterable[str]] = ...) -> None: ...

class EntriesUpdate(_message.Message):
    __slots__ = ("revision", "full", "upserts", "removed", "launch_changed", "launch_rules")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    FULL_FIELD_NUMBER: _ClassVar[int]
    UPSERTS_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    LAUNCH_CHANGED_FIELD_NUMBER: _ClassVar[int]
    LAUNCH_RULES_FIELD_NUMBER: _ClassVar[int]
    revision: int
    full: bool
    upserts: _containers.RepeatedCompositeFieldContainer[Entry]
    removed: _containers.RepeatedScalarFieldContainer[str]
    launch_changed: bool
    launch_rules: _containers.RepeatedCompositeFieldContainer[LaunchRule]
    def __init__(self, revision: _Optional[int] = ..., full: _Optional[bool] = ..., upserts: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., removed: _Optional[_Iterable[str]] = ..., launch_changed: _Optional[bool] = ..., launch_rules: _Optional[_Iterable[_Union[LaunchRule, _Mapping]]] = ...) -> None: ...

class BundleUpdate(_message.Message):
    __slots__ = ("bundle", "federated")
    class FederatedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    FEDERATED_FIELD_NUMBER: _ClassVar[int]
    bundle: bytes
    federated: _containers.ScalarMap[str, bytes]
    def __init__(self, bundle: _Optional[bytes] = ..., federated: _Optional[_Mapping[str, bytes]] = ...) -> None: ...

class SvidResponse(_message.Message):
    __slots__ = ("id", "results")
    ID_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    id: int
    results: _containers.RepeatedCompositeFieldContainer[SvidResult]
    def __init__(self, id: _Optional[int] = ..., results: _Optional[_Iterable[_Union[SvidResult, _Mapping]]] = ...) -> None: ...

class SvidResult(_message.Message):
    __slots__ = ("entry_id", "chain", "code", "detail")
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    entry_id: str
    chain: _containers.RepeatedScalarFieldContainer[bytes]
    code: int
    detail: str
    def __init__(self, entry_id: _Optional[str] = ..., chain: _Optional[_Iterable[bytes]] = ..., code: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...

class JwtResponse(_message.Message):
    __slots__ = ("id", "token", "expires_at", "code", "detail")
    ID_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    id: int
    token: str
    expires_at: int
    code: int
    detail: str
    def __init__(self, id: _Optional[int] = ..., token: _Optional[str] = ..., expires_at: _Optional[int] = ..., code: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...

class WitResponse(_message.Message):
    __slots__ = ("id", "token", "expires_at", "code", "detail")
    ID_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    id: int
    token: str
    expires_at: int
    code: int
    detail: str
    def __init__(self, id: _Optional[int] = ..., token: _Optional[str] = ..., expires_at: _Optional[int] = ..., code: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...

class RenewResponse(_message.Message):
    __slots__ = ("id", "chain", "code", "detail")
    ID_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    id: int
    chain: _containers.RepeatedScalarFieldContainer[bytes]
    code: int
    detail: str
    def __init__(self, id: _Optional[int] = ..., chain: _Optional[_Iterable[bytes]] = ..., code: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...

class RevokedUpdate(_message.Message):
    __slots__ = ("revoked",)
    REVOKED_FIELD_NUMBER: _ClassVar[int]
    revoked: bytes
    def __init__(self, revoked: _Optional[bytes] = ...) -> None: ...

class Revoked(_message.Message):
    __slots__ = ("identities", "serials", "crls")
    IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    SERIALS_FIELD_NUMBER: _ClassVar[int]
    CRLS_FIELD_NUMBER: _ClassVar[int]
    identities: _containers.RepeatedCompositeFieldContainer[RevokedIdentity]
    serials: _containers.RepeatedScalarFieldContainer[str]
    crls: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, identities: _Optional[_Iterable[_Union[RevokedIdentity, _Mapping]]] = ..., serials: _Optional[_Iterable[str]] = ..., crls: _Optional[_Iterable[bytes]] = ...) -> None: ...

class RevokedIdentity(_message.Message):
    __slots__ = ("spiffe_id", "reason")
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    spiffe_id: str
    reason: str
    def __init__(self, spiffe_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Revocations(_message.Message):
    __slots__ = ("spiffe_ids", "serials")
    SPIFFE_IDS_FIELD_NUMBER: _ClassVar[int]
    SERIALS_FIELD_NUMBER: _ClassVar[int]
    spiffe_ids: _containers.RepeatedScalarFieldContainer[str]
    serials: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, spiffe_ids: _Optional[_Iterable[str]] = ..., serials: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Rotate(_message.Message):
    __slots__ = ("spread_ms", "authorities")
    SPREAD_MS_FIELD_NUMBER: _ClassVar[int]
    AUTHORITIES_FIELD_NUMBER: _ClassVar[int]
    spread_ms: int
    authorities: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, spread_ms: _Optional[int] = ..., authorities: _Optional[_Iterable[str]] = ...) -> None: ...

class FabricsUpdate(_message.Message):
    __slots__ = ("revision", "fabrics", "refusals")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    FABRICS_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    revision: int
    fabrics: _containers.RepeatedCompositeFieldContainer[FabricState]
    refusals: _containers.RepeatedCompositeFieldContainer[FabricRefusal]
    def __init__(self, revision: _Optional[int] = ..., fabrics: _Optional[_Iterable[_Union[FabricState, _Mapping]]] = ..., refusals: _Optional[_Iterable[_Union[FabricRefusal, _Mapping]]] = ...) -> None: ...

class FabricState(_message.Message):
    __slots__ = ("fabric", "jobs")
    FABRIC_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    fabric: FabricDocument
    jobs: _containers.RepeatedCompositeFieldContainer[FabricJob]
    def __init__(self, fabric: _Optional[_Union[FabricDocument, _Mapping]] = ..., jobs: _Optional[_Iterable[_Union[FabricJob, _Mapping]]] = ...) -> None: ...

class FabricDocument(_message.Message):
    __slots__ = ("namespace", "name", "kind", "plane", "interfaces", "cidrs", "mtu", "partition_kind", "partition_number", "partition_group", "ports", "tenants", "enforced_by", "path", "line")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PLANE_FIELD_NUMBER: _ClassVar[int]
    INTERFACES_FIELD_NUMBER: _ClassVar[int]
    CIDRS_FIELD_NUMBER: _ClassVar[int]
    MTU_FIELD_NUMBER: _ClassVar[int]
    PARTITION_KIND_FIELD_NUMBER: _ClassVar[int]
    PARTITION_NUMBER_FIELD_NUMBER: _ClassVar[int]
    PARTITION_GROUP_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    TENANTS_FIELD_NUMBER: _ClassVar[int]
    ENFORCED_BY_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    kind: str
    plane: str
    interfaces: _containers.RepeatedScalarFieldContainer[str]
    cidrs: _containers.RepeatedScalarFieldContainer[str]
    mtu: int
    partition_kind: str
    partition_number: int
    partition_group: str
    ports: _containers.RepeatedScalarFieldContainer[str]
    tenants: _containers.RepeatedScalarFieldContainer[str]
    enforced_by: str
    path: str
    line: int
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., kind: _Optional[str] = ..., plane: _Optional[str] = ..., interfaces: _Optional[_Iterable[str]] = ..., cidrs: _Optional[_Iterable[str]] = ..., mtu: _Optional[int] = ..., partition_kind: _Optional[str] = ..., partition_number: _Optional[int] = ..., partition_group: _Optional[str] = ..., ports: _Optional[_Iterable[str]] = ..., tenants: _Optional[_Iterable[str]] = ..., enforced_by: _Optional[str] = ..., path: _Optional[str] = ..., line: _Optional[int] = ...) -> None: ...

class FabricJob(_message.Message):
    __slots__ = ("job", "spiffe_ids", "expires_at", "members")
    JOB_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_IDS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    job: str
    spiffe_ids: _containers.RepeatedScalarFieldContainer[str]
    expires_at: int
    members: _containers.RepeatedCompositeFieldContainer[FabricMember]
    def __init__(self, job: _Optional[str] = ..., spiffe_ids: _Optional[_Iterable[str]] = ..., expires_at: _Optional[int] = ..., members: _Optional[_Iterable[_Union[FabricMember, _Mapping]]] = ...) -> None: ...

class FabricMember(_message.Message):
    __slots__ = ("address", "until")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    address: str
    until: int
    def __init__(self, address: _Optional[str] = ..., until: _Optional[int] = ...) -> None: ...

class FabricRefusal(_message.Message):
    __slots__ = ("fabric", "job", "spiffe_id", "code", "detail", "entry_id")
    FABRIC_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    fabric: str
    job: str
    spiffe_id: str
    code: int
    detail: str
    entry_id: str
    def __init__(self, fabric: _Optional[str] = ..., job: _Optional[str] = ..., spiffe_id: _Optional[str] = ..., code: _Optional[int] = ..., detail: _Optional[str] = ..., entry_id: _Optional[str] = ...) -> None: ...
