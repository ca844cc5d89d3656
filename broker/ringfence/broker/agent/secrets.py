"""What a caller is entitled to, as Envoy's secrets: certificates by SPIFFE ID, validation contexts by trust domain."""

from __future__ import annotations

import ssl
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ringfence.broker.agent.svids import HeldSvid
from ringfence.broker.agent.view import View
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.xds.codec import build, extension, resource
from ringfence.xds.snapshot import Resource, Snapshot

# Names that SPIRE's agent serves too, so that an Envoy set up for it needs no change.
DEFAULT, OWN_BUNDLE, ALL_BUNDLES = "default", "ROOTCA", "ALL"
SPECIAL = frozenset({DEFAULT, OWN_BUNDLE, ALL_BUNDLES})

_TLS = "envoy.extensions.transport_sockets.tls.v3."
_VALIDATOR = "envoy.tls.cert_validator.spiffe"
_KEPT = 128
_OPT_OUT = "disable_spiffe_cert_validation"
_TRUE = frozenset({"1", "t", "true"})  # what Go's strconv.ParseBool takes for true, as SPIRE does
_Validation = Callable[[str, Mapping[TrustDomain, SpiffeBundle]], tuple[str, Resource]]


class Secrets:
    """Snapshots of secrets, encoded once for all streams that show the same; bounded."""

    def __init__(self) -> None:
        self._made: OrderedDict[object, Snapshot] = OrderedDict()

    def of(self, view: View, *, plain: bool = False) -> Snapshot:
        """All secrets of *view*; *plain*: for a proxy that opted out of Envoy's SPIFFE validator."""
        key = (view.key, plain)
        snapshot = self._made.get(key)
        if snapshot is None:
            snapshot = self._made[key] = Snapshot.of(_secrets(view, _plain if plain else _validation), "")
            while len(self._made) > _KEPT:
                self._made.popitem(last=False)
        return snapshot


def opted_out(metadata: Mapping[str, Any]) -> bool:
    """Whether node metadata says `disable_spiffe_cert_validation` as SPIRE's agent takes it: true or "true"."""
    said = metadata.get(_OPT_OUT)
    return said is True or (isinstance(said, str) and said.lower() in _TRUE)


def _secrets(view: View, validation: _Validation) -> Iterator[tuple[str, Resource]]:
    """By SPIFFE ID, `default` for the first identity, by trust domain ID, `ROOTCA` for our own, `ALL` for all.

    No `ALL` without the validator: in one plain list each trust domain's authorities could speak for any other.
    """
    named: dict[str, HeldSvid] = {}
    for entry, svid in view.held:
        named.setdefault(str(entry.spiffe_id), svid)
    for name, svid in named.items():
        yield _certificate(name, svid)
    if view.held:
        yield _certificate(DEFAULT, view.held[0][1])
    for trust_domain, bundle in view.bundles.all.items():
        yield validation(trust_domain.id, {trust_domain: bundle})
    own = view.bundles.own
    yield validation(OWN_BUNDLE, {own.trust_domain: own})
    if validation is _validation:
        yield validation(ALL_BUNDLES, view.bundles.all)


def _certificate(name: str, svid: HeldSvid) -> tuple[str, Resource]:
    return _secret(
        name,
        tls_certificate={
            "certificate_chain": {"inline_bytes": _pem("CERTIFICATE", svid.chain)},
            "private_key": {"inline_bytes": _pem("PRIVATE KEY", [svid.key])},
        },
    )


def _validation(name: str, bundles: Mapping[TrustDomain, SpiffeBundle]) -> tuple[str, Resource]:
    """Envoy's SPIFFE validator: a peer is judged by the bundle of its own trust domain only."""
    domains = [
        {"name": trust_domain.name, "trust_bundle": {"inline_bytes": bundle.x509_pem()}}
        for trust_domain, bundle in bundles.items()
    ]
    validator = extension(_VALIDATOR, _TLS + "SPIFFECertValidatorConfig", trust_domains=domains)
    return _secret(name, validation_context={"custom_validator_config": validator})


def _plain(name: str, bundles: Mapping[TrustDomain, SpiffeBundle]) -> tuple[str, Resource]:
    """Plain authorities: Envoy checks the chain, and it's for the listener's own matchers to look at the SPIFFE ID."""
    (bundle,) = bundles.values()
    return _secret(name, validation_context={"trusted_ca": {"inline_bytes": bundle.x509_pem()}})


def _secret(name: str, **fields: Any) -> tuple[str, Resource]:
    return resource(name, build(_TLS + "Secret", name=name, **fields))


def _pem(label: str, ders: Iterable[bytes]) -> bytes:
    return b"".join(ssl.DER_cert_to_PEM_cert(der).replace("CERTIFICATE", label).encode() for der in ders)
