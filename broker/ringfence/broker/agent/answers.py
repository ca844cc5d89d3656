"""The Workload API's messages, built and framed once for all streams that show the same."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from ringfence.broker.agent.entry import unique_hints
from ringfence.broker.agent.view import View
from ringfence.proto import workload
from ringfence.proto.lane import Framed, frame

_KEPT = 512


class Answers:
    """A bounded cache of framed answers, by what they show."""

    def __init__(self) -> None:
        self._framed: OrderedDict[object, Framed] = OrderedDict()
        self._last: tuple[View | None, Framed] = None, frame(b"")

    def x509_svids(self, view: View) -> Framed:
        """X509SVIDResponse: DER throughout, keys as PKCS #8 (SPIFFE_Workload_API.md section 5.2.1)."""
        known, framed = self._last
        if known is not view:  # of many streams that see the very same one, only the first has to look it up
            framed = self._get(("x509", view.key), lambda: _x509_svids(view))
            self._last = view, framed
        return framed

    def x509_bundles(self, view: View) -> Framed:
        """X509BundlesResponse: by the SPIFFE ID of the trust domain, ours among them (section 5.2.2)."""
        return self._get(("x509 bundles", view.bundles.key), lambda: _x509_bundles(view))

    def jwt_bundles(self, view: View) -> Framed:
        """JWTBundlesResponse: JWKS with jwt-svid keys only (section 6.2.2)."""
        return self._get(("jwt bundles", view.bundles.key), lambda: _jwt_bundles(view))

    def _get(self, key: object, build: Callable[[], Any]) -> Framed:
        framed = self._framed.get(key)
        if framed is None:
            framed = self._framed[key] = frame(build().SerializeToString())
            while len(self._framed) > _KEPT:
                self._framed.popitem(last=False)
        return framed


def _x509_svids(view: View) -> Any:
    answer = workload.X509SVIDResponse(crl=view.bundles.crls)
    bundle = view.bundles.own.x509_der()
    held = {entry.id: svid for entry, svid in view.held}
    for entry, hint in unique_hints(entry for entry, _ in view.held):
        svid = held[entry.id]
        answer.svids.add(
            spiffe_id=str(entry.spiffe_id),
            x509_svid=b"".join(svid.chain),
            x509_svid_key=svid.key,
            bundle=bundle,
            hint=hint,
        )
    for trust_domain, other in view.bundles.federated.items():
        answer.federated_bundles[trust_domain.id] = other.x509_der()
    return answer


def _x509_bundles(view: View) -> Any:
    answer = workload.X509BundlesResponse(crl=view.bundles.crls)
    for trust_domain, bundle in view.bundles.all.items():
        answer.bundles[trust_domain.id] = bundle.x509_der()
    return answer


def _jwt_bundles(view: View) -> Any:
    answer = workload.JWTBundlesResponse()
    for trust_domain, bundle in view.bundles.all.items():
        answer.bundles[trust_domain.id] = bundle.jwks()
    return answer
