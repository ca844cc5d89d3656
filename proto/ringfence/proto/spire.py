"""The part of SPIRE's server API that nested servers speak, from descriptor pools of our own."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import ServiceDescriptor

from ringfence.proto.private import PrivatePool

_SVIDS, _BUNDLES = PrivatePool("spire_svid"), PrivatePool("spire_bundle")
_SVID, _BUNDLE = "spire.api.server.svid.v1", "spire.api.server.bundle.v1"
SVID: ServiceDescriptor = _SVIDS.service(f"{_SVID}.SVID")
BUNDLE: ServiceDescriptor = _BUNDLES.service(f"{_BUNDLE}.Bundle")

# Classes made at run time: their fields are known to protobuf, not to a type checker.
NewDownstreamX509CARequest: Any = _SVIDS.message(f"{_SVID}.NewDownstreamX509CARequest")
NewDownstreamX509CAResponse: Any = _SVIDS.message(f"{_SVID}.NewDownstreamX509CAResponse")
GetBundleRequest: Any = _BUNDLES.message(f"{_BUNDLE}.GetBundleRequest")
TrustDomainBundle: Any = _BUNDLES.message(f"{_BUNDLE}.TrustDomainBundle")
X509Certificate: Any = _BUNDLES.message(f"{_BUNDLE}.X509Certificate")
JWTKey: Any = _BUNDLES.message(f"{_BUNDLE}.JWTKey")
PublishJWTAuthorityRequest: Any = _BUNDLES.message(f"{_BUNDLE}.PublishJWTAuthorityRequest")
PublishJWTAuthorityResponse: Any = _BUNDLES.message(f"{_BUNDLE}.PublishJWTAuthorityResponse")
