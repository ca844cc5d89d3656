"""Proof by the token that Kubernetes projects into the agent's pod; the kubelet renews it, so it is read each time."""

from __future__ import annotations

from pathlib import Path

from ringfence.agent.v1 import agent_pb2
from ringfence.broker.agent.prove import unasked
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import TrustDomain


class ProjectedTokenProver:
    """The token in a file, and the cluster that made it."""

    name = "k8s_psat"
    needs_challenge = False

    def __init__(self, cluster: str, token: Path) -> None:
        self._cluster = cluster
        self._token = token

    @property
    def available(self) -> bool:
        """As long as the file is there, which is found out when it is read."""
        return True

    def evidence(self, trust_domain: TrustDomain, nonce: bytes, csr: bytes) -> agent_pb2.AttestRequest:  # noqa: ARG002  # the port's
        """The token itself: it is good for its audience only, and the connection is the server's."""
        try:
            token = self._token.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            detail = error.strerror if isinstance(error, OSError) else "it holds no text"
            raise self._unusable(detail or str(error)) from error
        if not token:
            raise self._unusable("it is empty")
        return agent_pb2.AttestRequest(k8s_psat=agent_pb2.K8sPsat(cluster=self._cluster, token=token), csr=csr)

    def answer(self, asked: agent_pb2.TpmCredential, csr: bytes) -> agent_pb2.AttestRequest:  # noqa: ARG002  # the port's
        """A token is all there is."""
        raise unasked(self.name)

    def accepted(self) -> None:
        """It is good again."""

    def _unusable(self, detail: str) -> RingfenceError:
        return RingfenceError(
            Kind.INVALID,
            f"this node can't prove itself with it: {detail}",
            where=str(self._token),
            hint="Project a serviceAccountToken there, or check --k8s-psat-token",
        )
