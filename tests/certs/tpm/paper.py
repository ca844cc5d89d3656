"""A TPM on paper: keys, areas and certifications as a TPM makes them, and every lie that a TPM would not tell."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from ringfence.certs.possession import challenge
from ringfence.certs.profile import new_csr
from ringfence.certs.tpm.credential import Credential, coordinates, kdfa, kdfe
from ringfence.certs.tpm.names import GENERATED, ST_ATTEST_CERTIFY, Alg, Attribute
from ringfence.certs.tpm.reader import Reader, number, sized
from ringfence.certs.tpm.residency import Residency, qualification
from tests.certs.factory import Ca
from tests.certs.material import TD, new_key

OURS = Attribute.FIXED_TPM | Attribute.FIXED_PARENT | Attribute.SENSITIVE_DATA_ORIGIN
DEVID = OURS | Attribute.SIGN | Attribute.USER_WITH_AUTH
ATTESTATION = DEVID | Attribute.RESTRICTED
ENDORSEMENT = OURS | Attribute.DECRYPT | Attribute.RESTRICTED | Attribute.ADMIN_WITH_POLICY
AES128 = number(Alg.AES, 2) + number(128, 2) + number(Alg.CFB, 2)
NULL = number(Alg.NULL, 2)
_SHA256 = number(Alg.SHA256, 2)
_CURVES = {"secp256r1": 3, "secp384r1": 4, "secp521r1": 5}

CSR = new_csr(new_key())
NONCE = bytes(range(32))
DATA = challenge(TD, NONCE, CSR, attestor="tpm_devid")


def area(
    key: Any, attributes: int, *, symmetric: bytes = NULL, scheme: bytes = NULL, name_hash: int = Alg.SHA256
) -> bytes:
    """The TPMT_PUBLIC of *key*."""
    public = key.public_key()
    head = number(attributes, 4) + sized(b"policy") + symmetric + scheme
    if isinstance(public, rsa.RSAPublicKey):
        bits, numbers = public.key_size, public.public_numbers()
        exponent = 0 if numbers.e == 65537 else numbers.e
        unique = number(bits, 2) + number(exponent, 4) + sized(numbers.n.to_bytes(bits // 8))
        return number(Alg.RSA, 2) + number(name_hash, 2) + head + unique
    x, y = coordinates(public)
    curve = number(_CURVES[public.curve.name], 2)
    return number(Alg.ECC, 2) + number(name_hash, 2) + head + curve + NULL + sized(x) + sized(y)


def signature(key: Any, data: bytes, *, scheme: Alg | None = None) -> bytes:
    """The TPMT_SIGNATURE of *key* over *data*."""
    if isinstance(key, rsa.RSAPrivateKey):
        scheme = scheme or Alg.RSASSA
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        value = key.sign(data, padding.PKCS1v15() if scheme == Alg.RSASSA else pss, hashes.SHA256())
        return number(scheme, 2) + _SHA256 + sized(value)
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return number(scheme or Alg.ECDSA, 2) + _SHA256 + sized(r.to_bytes(32)) + sized(s.to_bytes(32))


def name_of(public: bytes) -> bytes:
    """The name of a key with that area."""
    return _SHA256 + hashlib.sha256(public).digest()


def certification(name: bytes, qualifying: bytes, *, magic: int = GENERATED, kind: int = ST_ATTEST_CERTIFY) -> bytes:
    """A TPMS_ATTEST."""
    clock = bytes(8 + 4 + 4 + 1 + 8)
    head = number(magic, 4) + number(kind, 2) + sized(b"\x00\x0b" + bytes(32)) + sized(qualifying) + clock
    return head + sized(name) + sized(b"\x00\x0b" + bytes(32))


@dataclass(slots=True)
class PaperTpm:
    """One with the endorsement key *endorsement*, of a maker that is *maker*."""

    maker: Ca
    endorsement: Any = field(default_factory=new_key)
    attestation: Any = field(default_factory=new_key)

    @property
    def endorsement_area(self) -> bytes:
        """As of the templates L-1 and L-2."""
        return area(self.endorsement, ENDORSEMENT, symmetric=AES128)

    def certificate(self, *extensions: x509.ExtensionType, **times: Any) -> bytes:
        """Its endorsement certificate, nameless as such are."""
        return self.maker.issue(self.endorsement, "ek", *extensions, **times)

    def evidence(self, ca: Ca, key: Any, data: bytes = DATA, **times: Any) -> Residency:
        """That the DevID *key*, with a certificate of *ca*, lives in it."""
        devid, attestation = area(key, DEVID), area(self.attestation, ATTESTATION)
        said = certification(name_of(devid), qualification(data))
        return Residency(
            chain=(ca.issue(key, "gpu-7", **times),),
            devid=devid,
            signature=signature(key, data),
            endorsement_certificate=self.certificate(**times),
            endorsement=self.endorsement_area,
            attestation=attestation,
            certification=said,
            certification_signature=signature(self.attestation, said),
        )

    def certifies(self, found: Residency, devid: bytes, data: bytes = DATA, **lies: int) -> Residency:
        """*found* for another DevID area, or with lies in what is certified."""
        said = certification(name_of(devid), qualification(data), **lies)
        signed = signature(self.attestation, said)
        return replace(found, devid=devid, certification=said, certification_signature=signed)

    def activate(self, credential: Credential, name: bytes) -> bytes:
        """TPM2_ActivateCredential; raises ValueError where a TPM answers TPM_RC_INTEGRITY."""
        outer = Reader(Reader(credential.id_object, "blob").sized(), "blob")
        integrity = outer.sized()
        identity = credential.id_object[2 + 2 + len(integrity) :]
        seed = self._seed(Reader(credential.encrypted_secret, "secret").sized())
        mac = hmac.digest(kdfa(seed, b"INTEGRITY", b"", 256), identity + name, "sha256")
        if mac != integrity:
            raise ValueError("TPM_RC_INTEGRITY")
        return Reader(_uncfb(kdfa(seed, b"STORAGE", name, 128), identity), "identity").sized()

    def _seed(self, secret: bytes) -> bytes:
        if isinstance(self.endorsement, rsa.RSAPrivateKey):
            oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label=b"IDENTITY\0")
            return self.endorsement.decrypt(secret, oaep)
        point = Reader(secret, "point")
        x, y = point.sized(), point.sized()
        curve = self.endorsement.curve
        theirs = ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), curve).public_key()
        own, _ = coordinates(self.endorsement.public_key())
        return kdfe(self.endorsement.exchange(ec.ECDH(), theirs), b"IDENTITY", x, own)


def _uncfb(key: bytes, data: bytes) -> bytes:
    block = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305  # what CFB is made of
    made, last = b"", bytes(16)
    for start in range(0, len(data), 16):
        piece = data[start : start + 16]
        made += bytes(a ^ b for a, b in zip(piece, block.update(last), strict=False))
        last = piece
    return made
