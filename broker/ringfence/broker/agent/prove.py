"""How a node proves what it is: a prover makes the evidence that the server's attestor of the same name takes."""

from __future__ import annotations

from typing import Protocol

from ringfence.agent.v1 import agent_pb2
from ringfence.broker.agent.config import AgentConfig
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

    def accepted(self) -> None:
        """It is spent."""
        self._token = ""


def prover_of(config: AgentConfig) -> NodeProver:
    """The prover that the configuration names."""
    if config.attestor == "x509pop" and config.x509pop_cert and config.x509pop_key:
        from ringfence.broker.agent.prove_x509pop import CertificateProver  # for those who use it

        return CertificateProver(config.x509pop_cert, config.x509pop_key)
    if config.attestor == "k8s_psat":
        from ringfence.broker.agent.prove_k8s_psat import ProjectedTokenProver

        return ProjectedTokenProver(config.k8s_psat_cluster, config.k8s_psat_token)
    return TokenProver(config.join_token)
