"""How a node proves what it is: a prover makes the evidence that the server's attestor of the same name takes."""

from __future__ import annotations

from typing import Protocol

from ringfence.agent.v1 import agent_pb2
from ringfence.broker.agent.config import AgentConfig
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import TrustDomain


class NodeProver(Protocol):
    """One way to prove it."""

    name: str
    needs_challenge: bool  # whether a nonce of the server is to be asked for first

    @property
    def available(self) -> bool:
        """Whether there is anything to prove with (any more)."""
        ...

    def evidence(self, trust_domain: TrustDomain, nonce: bytes, csr: bytes) -> agent_pb2.AttestRequest:
        """What to send, *csr* included; may read files. Raises INVALID naming the file that can't be used."""
        ...

    def answer(self, asked: agent_pb2.TpmCredential, csr: bytes) -> agent_pb2.AttestRequest:
        """What to send when the server answers so instead of admitting the node. Raises INVALID."""
        ...

    def accepted(self) -> None:
        """The server has taken it."""
        ...


class TokenProver:
    """A join token, which works once."""

    name = "join_token"
    needs_challenge = False

    def __init__(self, token: str) -> None:
        self._token = token

    @property
    def available(self) -> bool:
        """Until it is spent."""
        return bool(self._token)

    def evidence(self, trust_domain: TrustDomain, nonce: bytes, csr: bytes) -> agent_pb2.AttestRequest:  # noqa: ARG002  # the port's
        """The token itself."""
        return agent_pb2.AttestRequest(join_token=self._token, csr=csr)

    def answer(self, asked: agent_pb2.TpmCredential, csr: bytes) -> agent_pb2.AttestRequest:  # noqa: ARG002  # the port's
        """A token is all there is."""
        raise unasked(self.name)

    def accepted(self) -> None:
        """It is spent."""
        self._token = ""


def unasked(name: str) -> RingfenceError:
    """The error that a server asks for more than evidence of that kind has."""
    return RingfenceError(
        Kind.INVALID,
        f"the server asks for a TPM, and {name} has none",
        hint="Check that --server is a Ringfence server",
    )


def prover_of(config: AgentConfig) -> NodeProver:
    """The prover that the configuration names."""
    if config.attestor == "x509pop" and config.x509pop_cert and config.x509pop_key:
        from ringfence.broker.agent.prove_x509pop import CertificateProver  # for those who use it

        return CertificateProver(config.x509pop_cert, config.x509pop_key)
    if config.attestor == "tpm_devid" and config.tpm_devid_cert and config.tpm_devid_priv and config.tpm_devid_pub:
        from ringfence.broker.agent.prove_tpm_devid import DevidFiles, TpmDevidProver

        files = DevidFiles(config.tpm_devid_cert, config.tpm_devid_priv, config.tpm_devid_pub)
        return TpmDevidProver(files, config.tpm_tcti)
    if config.attestor == "k8s_psat":
        from ringfence.broker.agent.prove_k8s_psat import ProjectedTokenProver

        return ProjectedTokenProver(config.k8s_psat_cluster, config.k8s_psat_token)
    return TokenProver(config.join_token)
