"""The SPIFFE Broker API's messages, from a descriptor pool of our own (SPIFFE_Broker_API.md, revision 665a28f)."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from ringfence.proto.private import PrivatePool

PACKAGE = "spiffe.broker"
# Every call must carry it, or the server answers INVALID_ARGUMENT (SPIFFE_Broker_Endpoint.md section 3).
SECURITY_HEADER = ("broker.spiffe.io", "true")

POOL = PrivatePool("broker")
DESCRIPTOR: ServiceDescriptor = POOL.service(f"{PACKAGE}.API")


def message(name: str) -> type[Message]:
    """The class of the message *name* of the package; raises KeyError for any other name."""
    return POOL.message(f"{PACKAGE}.{name}")


# Classes made at run time: their fields are known to protobuf, not to a type checker.
WorkloadReference: Any = message("WorkloadReference")
WorkloadPIDReference: Any = message("WorkloadPIDReference")
KubernetesObjectReference: Any = message("KubernetesObjectReference")
KubernetesObjectType: Any = message("KubernetesObjectType")
KubernetesObjectKey: Any = message("KubernetesObjectKey")
SubscribeToX509SVIDRequest: Any = message("SubscribeToX509SVIDRequest")
SubscribeToX509SVIDResponse: Any = message("SubscribeToX509SVIDResponse")
SubscribeToX509BundlesRequest: Any = message("SubscribeToX509BundlesRequest")
SubscribeToX509BundlesResponse: Any = message("SubscribeToX509BundlesResponse")
FetchJWTSVIDRequest: Any = message("FetchJWTSVIDRequest")
FetchJWTSVIDResponse: Any = message("FetchJWTSVIDResponse")
SubscribeToJWTBundlesRequest: Any = message("SubscribeToJWTBundlesRequest")
SubscribeToJWTBundlesResponse: Any = message("SubscribeToJWTBundlesResponse")


def reference(message: Any) -> Any:
    """The WorkloadReference that carries *message*, one of the reference types, under its type URL."""
    found = WorkloadReference()
    found.reference.Pack(message)
    return found
