"""Bundle maps: the bundles of several trust domains in one document (SPIFFE_Trust_Domain_and_Bundle.md section 5).

The same file is what gRPC reads as `spiffe_bundle_map_file` and Envoy as `SPIFFECertValidatorConfig.trust_bundles`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ringfence.certs.bundle import SpiffeBundle, dump, load
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import TrustDomain

_MAP = "trust_domains"
_HINT = "spiffe_refresh_hint"


def write_map(bundles: Iterable[SpiffeBundle]) -> bytes:
    """*bundles* by the names of their trust domains, as JSON; raises INVALID for two of one trust domain.

    Without refresh hints, which say nothing in a map, and without a sequence that is not known.
    """
    documents: dict[str, object] = {}
    for bundle in bundles:
        name = bundle.trust_domain.name
        if name in documents:
            raise RingfenceError(Kind.INVALID, f"two bundles of {name}: a map holds one", hint="Leave one out")
        content = bundle.content()
        documents[name] = content if bundle.sequence else {"keys": content["keys"]}
    return dump({_MAP: documents})


def x509_only(bundle: SpiffeBundle) -> SpiffeBundle:
    """*bundle* without the keys of tokens: Envoy refuses a whole map for one key that is not for X.509-SVIDs."""
    return replace(bundle, jwt_authorities={}, wit_authorities={})


def parse_map(text: bytes) -> Mapping[TrustDomain, SpiffeBundle]:
    """The bundles that *text* holds, all or none; raises INVALID, naming the trust domain whose bundle is broken.

    A name that is there twice, in whatever object, is refused; refresh hints in the bundles count for nothing.
    """
    documents = load(text).get(_MAP)
    if not isinstance(documents, dict):
        raise RingfenceError(Kind.INVALID, f"the bundle map cannot be read: `{_MAP}` is missing or no object")
    return dict(_read(name, document) for name, document in documents.items())


def _read(name: str, document: object) -> tuple[TrustDomain, SpiffeBundle]:
    trust_domain = TrustDomain(name)  # the name alone: an ID has a scheme, which no name has
    if not isinstance(document, dict):
        raise RingfenceError(Kind.INVALID, f"the bundle map cannot be read: what {name} has is no object")
    try:
        bundle = SpiffeBundle.of(trust_domain, {key: value for key, value in document.items() if key != _HINT})
    except RingfenceError as error:
        raise RingfenceError(error.kind, f"{name}: {error.detail}", hint=error.hint) from None
    return trust_domain, bundle
