"""The SPIFFE Workload API's messages, from a descriptor pool of our own (SPIFFE_Workload_API.md).

The standard gives the file no package, so in the default pool it would clash with the `spiffe` client's copy.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from ringfence.proto.private import PrivatePool

SERVICE = "SpiffeWorkloadAPI"
# Every call must carry it, or the server answers INVALID_ARGUMENT (SPIFFE_Workload_Endpoint.md section 4).
SECURITY_HEADER = ("workload.spiffe.io", "true")

POOL = PrivatePool("workload")
DESCRIPTOR: ServiceDescriptor = POOL.service(SERVICE)


def message(name: str) -> type[Message]:
    """The class of the message *name*, for example `X509SVIDResponse`; raises KeyError for any other name."""
    return POOL.message(name)


# Classes made at run time: their fields are known to protobuf, not to a type checker.
X509SVID: Any = message("X509SVID")
X509SVIDRequest: Any = message("X509SVIDRequest")
X509SVIDResponse: Any = message("X509SVIDResponse")
X509BundlesRequest: Any = message("X509BundlesRequest")
X509BundlesResponse: Any = message("X509BundlesResponse")
JWTSVID: Any = message("JWTSVID")
JWTSVIDRequest: Any = message("JWTSVIDRequest")
JWTSVIDResponse: Any = message("JWTSVIDResponse")
JWTBundlesRequest: Any = message("JWTBundlesRequest")
JWTBundlesResponse: Any = message("JWTBundlesResponse")
ValidateJWTSVIDRequest: Any = message("ValidateJWTSVIDRequest")
ValidateJWTSVIDResponse: Any = message("ValidateJWTSVIDResponse")
WITSVIDRequest: Any = message("WITSVIDRequest")
WITSVIDResponse: Any = message("WITSVIDResponse")
WITBundlesRequest: Any = message("WITBundlesRequest")
WITBundlesResponse: Any = message("WITBundlesResponse")
