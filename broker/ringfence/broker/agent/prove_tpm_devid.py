"""Proof by a certificate whose key lives in this node's TPM: the TPM says so, and opens what the server sends it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from ringfence.agent.v1 import agent_pb2
from ringfence.broker.agent.tpm import templates
from ringfence.broker.agent.tpm.commands import ENDORSEMENT, NULL, OWNER, Key, Tpm
from ringfence.certs.certificate import read_certificate
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.possession import challenge
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.certs.tpm.credential import Credential
from ringfence.certs.tpm.names import HASHES, Alg, digest
from ringfence.certs.tpm.public import PublicArea
from ringfence.certs.tpm.reader import number
from ringfence.certs.tpm.residency import qualification

_STORAGE_ROOT = 0x81000001  # where owners keep one (TCG TPM v2.0 Provisioning Guidance, 7.8)
_ENDORSEMENTS, _MANY = 0x81010000, 256  # and where makers keep endorsement keys


@dataclass(frozen=True, slots=True)
class DevidFiles:
    """A certificate in PEM, intermediates after it, and its key as the TPM wrote it: wrapped, and its public area."""

    certificate: Path
    private: Path
    public: Path


class TpmDevidProver:
    """The key of *files* in the TPM that *tcti* names. Nothing is kept: all is read and loaded each time."""

    name = "tpm_devid"
    needs_challenge = True

    def __init__(self, files: DevidFiles, tcti: str) -> None:
        self._files = files
        self._tcti = tcti

    @property
    def available(self) -> bool:
        """As long as files and TPM are there, which is found out when they are used."""
        return True

    def evidence(self, trust_domain: TrustDomain, nonce: bytes, csr: bytes) -> agent_pb2.AttestRequest:
        """All that the TPM can say of the key before it is asked to open anything."""
        chain = _read_chain(self._files.certificate)
        private, public = (_read_sized(path) for path in (self._files.private, self._files.public))
        area = _area(public, self._files.public)
        if area.key != chain[0].public_key():
            raise _unusable(self._files.public, "it is not the key of the first certificate in --tpm-devid-cert")
        data = challenge(trust_domain, nonce, csr, attestor=self.name)
        with Tpm.open(self._tcti) as tpm:
            root = _storage_root(tpm, area)
            devid = tpm.load(root, private, public)
            tpm.unload(root)
            attestation = tpm.create_primary(NULL, templates.ATTESTATION)
            said, said_signature = tpm.certify(devid, attestation, qualification(data))
            signature = _sign(tpm, devid, area, data)
            tpm.unload(devid)
            endorsement_certificate, endorsement = _endorsement(tpm)
        found = agent_pb2.TpmDevid(
            chain=[certificate.public_bytes(Encoding.DER) for certificate in chain],
            devid=public,
            signature=signature,
            endorsement_certificate=endorsement_certificate,
            endorsement=endorsement.public,
            attestation=attestation.public,
            certification=said,
            certification_signature=said_signature,
        )
        return agent_pb2.AttestRequest(tpm_devid=found, csr=csr)

    def answer(self, asked: agent_pb2.TpmCredential, csr: bytes) -> agent_pb2.AttestRequest:
        """What the TPM opens; the attestation key is the same again."""
        credential = Credential(asked.id_object, asked.encrypted_secret)
        with Tpm.open(self._tcti) as tpm:
            attestation = tpm.create_primary(NULL, templates.ATTESTATION)
            _, endorsement = _endorsement(tpm)
            secret = tpm.activate(attestation, endorsement, credential)
        return agent_pb2.AttestRequest(tpm_devid=agent_pb2.TpmDevid(secret=secret), csr=csr)

    def accepted(self) -> None:
        """It is good again."""


def _storage_root(tpm: Tpm, area: PublicArea) -> Key:
    """What the DevID key was wrapped by: the root that is kept, or the one that the template gives."""
    if _STORAGE_ROOT in tpm.kept(_STORAGE_ROOT, 1):
        return tpm.read_public(_STORAGE_ROOT)
    kind = Alg.RSA if isinstance(area.key, rsa.RSAPublicKey) else Alg.ECC
    return tpm.create_primary(OWNER, templates.STORAGE_ROOT[kind])


def _sign(tpm: Tpm, key: Key, area: PublicArea, data: bytes) -> bytes:
    """By the scheme that the key is bound to, or by the usual one of its kind with SHA-256."""
    if area.scheme != Alg.NULL:
        return tpm.sign(key, digest(HASHES[area.scheme_hash], data), number(Alg.NULL, 2))
    scheme = Alg.RSASSA if isinstance(area.key, rsa.RSAPublicKey) else Alg.ECDSA
    return tpm.sign(key, digest(HASHES[Alg.SHA256], data), number(scheme, 2) + number(Alg.SHA256, 2))


def _endorsement(tpm: Tpm) -> tuple[bytes, Key]:
    """The first endorsement certificate that the TPM has, and its key: as it is kept, or as the template gives it."""
    for index, template in templates.ENDORSEMENT.items():
        if index not in tpm.kept(index, 1):
            continue
        certificate = _certificate(tpm.read_memory(index))
        wanted = certificate.public_key()
        kept = (tpm.read_public(handle) for handle in tpm.kept(_ENDORSEMENTS, _MANY) if handle < _ENDORSEMENTS + _MANY)
        found = next((key for key in kept if _is(key, wanted)), None) or tpm.create_primary(ENDORSEMENT, template)
        if not _is(found, wanted):
            raise _unproven("the TPM's endorsement certificate is not of its endorsement key")
        return certificate.public_bytes(Encoding.DER), found
    raise _unproven("the TPM holds no endorsement certificate of an RSA 2048 or P-256 key")


def _is(key: Key, wanted: object) -> bool:
    try:
        return PublicArea.parse(key.public, "a key").key == wanted
    except RingfenceError:  # of another kind
        return False


def _certificate(memory: bytes) -> x509.Certificate:
    """The certificate at the start of *memory*: some makers leave room after it."""
    size = 4 + int.from_bytes(
        memory[2:4]
    )  # a DER SEQUENCE of two bytes of length, as all certificates of RSA and EC keys
    try:
        return read_certificate(memory[:size])
    except ValueError:
        raise _unproven("the TPM's endorsement certificate cannot be read") from None


def _read_chain(path: Path) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
        return [read_certificate(certificate.public_bytes(Encoding.DER)) for certificate in found]
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error
    except ValueError:
        raise _unusable(path, "it holds no certificate in PEM, or a damaged one") from None


def _read_sized(path: Path) -> bytes:
    """What a TPM2B holds; the size before it, which tpm2-tools write and SPIRE does not, may be left out."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error
    return data[2:] if len(data) - 2 == int.from_bytes(data[:2]) else data


def _area(public: bytes, path: Path) -> PublicArea:
    try:
        return PublicArea.parse(public, "it")
    except RingfenceError as error:
        raise _unusable(path, error.detail) from None


def _unusable(path: Path, detail: str) -> RingfenceError:
    hint = "Check --tpm-devid-cert, --tpm-devid-priv and --tpm-devid-pub"
    return RingfenceError(Kind.INVALID, f"this node can't prove itself with it: {detail}", where=str(path), hint=hint)


def _unproven(detail: str) -> RingfenceError:
    return RingfenceError(Kind.INVALID, detail, hint="Use another TPM, or attest with --attestor x509pop")
