"""Reading X.509-SVIDs: whose a certificate is, and whether to believe it (X509-SVID.md section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.certificate import read_certificate
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId

MAX_CHAIN = 8


@dataclass(frozen=True, slots=True)
class X509Svid:
    """A chain, leaf first and root left out, and what its leaf says."""

    spiffe_id: SpiffeId
    chain: tuple[bytes, ...]
    not_before: datetime
    not_after: datetime


def parse_svid(chain: Sequence[bytes]) -> X509Svid:
    """What *chain* (DER, leaf first) says; raises UNAUTHENTICATED. Nothing is verified: that is `verify_peer`."""
    leaf = _chain(chain)[0]
    return X509Svid(_one_name(leaf), tuple(chain), leaf.not_valid_before_utc, leaf.not_valid_after_utc)


def spiffe_id_of(leaf_der: bytes) -> SpiffeId:
    """The one SPIFFE ID of a leaf whose chain was verified elsewhere (by TLS); raises UNAUTHENTICATED."""
    return _one_name(_certificate(leaf_der))


def id_of_verified(leaf_der: bytes) -> SpiffeId:
    """The SPIFFE ID of a leaf whose path TLS itself verified, and which is an X.509-SVID; raises UNAUTHENTICATED."""
    # The steps 2, 3, 5 and 6 of verify_peer.
    leaf = _certificate(leaf_der)
    spiffe_id = _one_name(leaf)
    if not spiffe_id.path:
        raise _refused(f"{spiffe_id} names a trust domain, no workload")
    _check_leaf_usage(leaf)
    _check_extended_usage(leaf)
    return spiffe_id


def verify_peer(chain_der: Sequence[bytes], bundle: SpiffeBundle, *, now: datetime) -> SpiffeId:
    """The SPIFFE ID that *chain_der* (leaf first) proves under *bundle*; raises UNAUTHENTICATED on any doubt."""
    # 1. Every certificate can be read.
    leaf, *others = _chain(chain_der)
    # 2. The leaf has exactly one URI among its names, and that is a SPIFFE ID (X509-SVID 2).
    spiffe_id = _one_name(leaf)
    # 3. The ID names a workload, not the trust domain (X509-SVID 5.2).
    if not spiffe_id.path:
        raise _refused(f"{spiffe_id} names a trust domain, no workload")
    # 4. The bundle is that of the ID's own trust domain: no other may vouch for it.
    if bundle.trust_domain != spiffe_id.trust_domain:
        raise _refused(f"{spiffe_id} is not of the trust domain {bundle.trust_domain}")
    # 5. The leaf is no signing certificate, and is meant for digital signatures (X509-SVID 4.1, 4.3).
    _check_leaf_usage(leaf)
    # 6. It may be used at both ends of a connection (X509-SVID 4.4).
    _check_extended_usage(leaf)
    # 7. A path leads to one of the trust domain's roots, and all of it is valid now (RFC 5280 section 6).
    _check_path(leaf, others, bundle, now)
    return spiffe_id


def _chain(chain: Sequence[bytes]) -> list[x509.Certificate]:
    if not 0 < len(chain) <= MAX_CHAIN:
        raise _refused(f"a chain has 1 to {MAX_CHAIN} certificates, this one {len(chain)}")
    return [_certificate(der) for der in chain]


def _certificate(der: bytes) -> x509.Certificate:
    try:
        return read_certificate(der)
    except ValueError:
        raise _refused("a certificate cannot be read") from None


def _one_name(leaf: x509.Certificate) -> SpiffeId:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise _refused("the certificate has no subject alternative name") from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise _refused(f"a certificate has exactly one URI among its names, this one {len(uris)}")
    try:
        return SpiffeId.parse(uris[0])
    except RingfenceError as error:
        raise _refused(error.detail) from None


def _check_leaf_usage(leaf: x509.Certificate) -> None:
    try:
        constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
        if constraints.value.ca:
            raise _refused("a signing certificate identifies no peer")
    except x509.ExtensionNotFound:
        pass  # absent means cA=FALSE (RFC 5280 4.2.1.9)
    try:
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    except x509.ExtensionNotFound:
        raise _refused("the certificate does not say what its key is for") from None
    if not usage.critical or not usage.value.digital_signature:
        raise _refused("the certificate's key usage is not critical or lacks digitalSignature")
    if usage.value.key_cert_sign or usage.value.crl_sign:
        raise _refused("a key that signs certificates or revocation lists identifies no peer")


def _check_extended_usage(leaf: x509.Certificate) -> None:
    try:
        usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} <= set(usages):
        raise _refused("the certificate is not for both ends of a connection")


def _check_path(
    leaf: x509.Certificate, others: Sequence[x509.Certificate], bundle: SpiffeBundle, now: datetime
) -> None:
    if not bundle.x509_authorities:
        raise _refused(f"no authority of {bundle.trust_domain} is trusted")
    store = Store([_certificate(der) for der in bundle.x509_authorities])
    verifier = PolicyBuilder().store(store).time(now).build_client_verifier()
    try:
        verifier.verify(leaf, list(others))
    except VerificationError as error:
        raise _refused(f"the certificate does not verify: {error}") from None


def _refused(detail: str) -> RingfenceError:
    return RingfenceError(Kind.UNAUTHENTICATED, detail)
