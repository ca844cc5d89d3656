"""A paper TPM's proof as an agent sends it, in both rounds."""

from __future__ import annotations

from dataclasses import asdict

from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.attest.node_port import Asked, Evidence
from ringfence.certs.tpm.credential import Credential
from ringfence.certs.tpm.residency import Residency
from tests.certs.tpm.paper import ATTESTATION, PaperTpm, area, name_of


def shown(found: Residency) -> pb.TpmDevid:
    """The message of the first round."""
    return pb.TpmDevid(**asdict(found))


def secret_of(tpm: PaperTpm, asked: pb.AttestResponse) -> pb.TpmDevid:
    """The message of the second; raises ValueError where *tpm* opens nothing."""
    credential = Credential(asked.tpm_credential.id_object, asked.tpm_credential.encrypted_secret)
    return pb.TpmDevid(secret=tpm.activate(credential, name_of(area(tpm.attestation, ATTESTATION))))


def opened(tpm: PaperTpm, asked: Asked, csr: bytes) -> Evidence:
    """What the attestor gets then."""
    return Evidence(secret_of(tpm, asked.answer), csr, b"", asked.pending)
