"""Proof by a certificate that others issued: its key signs the server's challenge. The files are read each time."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from ringfence.agent.v1 import agent_pb2
from ringfence.broker.agent.prove import unasked
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.possession import PrivateKey, challenge, possess
from ringfence.certs.spiffe_id import TrustDomain

_OPEN_TO_OTHERS = 0o077


class CertificateProver:
    """A certificate (PEM, leaf first, intermediates after it) and its key; both may be renewed by whoever made them."""

    name = "x509pop"
    needs_challenge = True

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key

    @property
    def available(self) -> bool:
        """As long as the files are there, which is found out when they are read."""
        return True

    def evidence(self, trust_domain: TrustDomain, nonce: bytes, csr: bytes) -> agent_pb2.AttestRequest:
        """The chain, and what the key makes of the challenge."""
        chain = _read_chain(self._certificate)
        key = _read_key(self._key)
        if key.public_key() != chain[0].public_key():
            raise _unusable(self._key, "it is not the key of the first certificate", "--x509pop-cert")
        return agent_pb2.AttestRequest(
            x509pop=agent_pb2.X509Pop(
                chain=[certificate.public_bytes(Encoding.DER) for certificate in chain],
                signature=possess(key, challenge(trust_domain, nonce, csr)),
            ),
            csr=csr,
        )

    def answer(self, asked: agent_pb2.TpmCredential, csr: bytes) -> agent_pb2.AttestRequest:  # noqa: ARG002  # the port's
        """A certificate and its key are all there is."""
        raise unasked(self.name)

    def accepted(self) -> None:
        """It is good again."""


def _read_chain(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise _unusable(path, error.strerror or str(error), "--x509pop-cert") from error
    except ValueError:
        raise _unusable(path, "it holds no certificate in PEM", "--x509pop-cert") from None


def _read_key(path: Path) -> PrivateKey:
    try:
        # A key that others can read proves nothing of this node.
        if path.stat().st_mode & _OPEN_TO_OTHERS:
            raise _unusable(path, "others may read it (chmod 0600)", "--x509pop-key")
        key = load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise _unusable(path, error.strerror or str(error), "--x509pop-key") from error
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _unusable(path, "it holds no private key in PEM without a passphrase", "--x509pop-key") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise _unusable(path, "its key is neither RSA nor on an elliptic curve", "--x509pop-key")
    return key


def _unusable(path: Path, detail: str, flag: str) -> RingfenceError:
    return RingfenceError(
        Kind.INVALID, f"this node can't prove itself with it: {detail}", where=str(path), hint=f"Check {flag}"
    )
