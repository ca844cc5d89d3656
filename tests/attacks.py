"""Certificates that our API cannot make, signed by an authority's own key: what a stolen key could do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from ringfence.certs import tbs
from ringfence.certs.authority import Authority
from ringfence.certs.keys.port import KeyManager

Sign = Callable[[bytes], bytes]
Overrides = Mapping[type[x509.ExtensionType], x509.Extension[x509.ExtensionType] | None]

LEAF_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=True,
    data_encipherment=False,
    key_agreement=True,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def signer(authority: Authority, keys: KeyManager) -> Sign:
    """The sign function of the authority's current root: what `forge` wants."""
    return lambda data: keys.sign(authority.current.x509.key_id, data)


def two_uris(
    issuer: x509.Certificate, sign: Sign, public_key: ec.EllipticCurvePublicKey, uris: Sequence[str], *, now: datetime
) -> bytes:
    """A leaf (DER) with these URIs as its only names, otherwise as ours: Envoy's validator accepts it."""
    return forge(issuer, sign, public_key, names=[x509.UniformResourceIdentifier(uri) for uri in uris], now=now)


def forge(
    issuer: x509.Certificate,
    sign: Sign,
    public_key: ec.EllipticCurvePublicKey,
    *,
    names: Sequence[x509.GeneralName],
    now: datetime,
    ttl: timedelta = timedelta(hours=1),
    overrides: Overrides | None = None,
) -> bytes:
    """A leaf (DER) with any names; *overrides* replaces an extension by its type, or leaves it out for None."""
    builder = (
        x509.CertificateBuilder()
        .issuer_name(issuer.subject)
        .subject_name(x509.Name([*issuer.subject][:1]))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before((now - timedelta(seconds=10)).replace(microsecond=0))
        .not_valid_after((now + ttl).replace(microsecond=0))
    )
    extensions = {**_usual(issuer, public_key, names), **(overrides or {})}
    for extension in extensions.values():
        if extension is not None:
            builder = builder.add_extension(extension.value, critical=extension.critical)
    # The builder needs some key to lay the bytes out with; the issuer's own signature replaces the one it makes.
    layout = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).tbs_certificate_bytes
    return tbs.certificate(layout, sign(layout))


def _usual(
    issuer: x509.Certificate, public_key: ec.EllipticCurvePublicKey, names: Sequence[x509.GeneralName]
) -> dict[type[x509.ExtensionType], x509.Extension[x509.ExtensionType] | None]:
    ski = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    usual: list[tuple[x509.ExtensionType, bool]] = [
        (LEAF_USAGE, True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.SubjectKeyIdentifier.from_public_key(public_key), False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski), False),
    ]
    if names:
        usual.append((x509.SubjectAlternativeName(names), False))
    return {type(value): x509.Extension(value.oid, critical, value) for value, critical in usual}
