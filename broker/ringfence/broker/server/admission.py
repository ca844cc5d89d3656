"""Admitting nodes: whatever the evidence, the same steps, and nothing signed for who may not have it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from ringfence.broker.attest.node_port import Asked, Evidence, NodeAttestor
from ringfence.broker.entry import AGENT_PREFIX
from ringfence.broker.issue import Issuer
from ringfence.broker.server.agents import Agents
from ringfence.broker.store.nodes import Node
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.profile import LeafDraft, csr_public_key
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

_MAX_CSR = 8 << 10  # bytes


class Admission:
    """Turns evidence into a node and its first SVID."""

    def __init__(
        self,
        trust_domain: TrustDomain,
        attestors: Iterable[NodeAttestor],
        agents: Agents,
        issuer: Issuer,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._trust_domain = trust_domain
        self._attestors = {attestor.name: attestor for attestor in attestors}
        self._agents = agents
        self._issuer = issuer
        self._clock = clock

    async def admit(self, kind: str, evidence: Evidence) -> tuple[Node, tuple[bytes, ...]] | Asked:
        """The node and its chain, or what is asked of it first; raises UNAUTHENTICATED, DENIED or INVALID."""
        # 1. Evidence of a kind that this server takes.
        attestor = self._attestors.get(kind)
        if attestor is None:
            raise _not_taken(kind, self._attestors)
        # 2. The request is sound, or no evidence is spent on it.
        if len(evidence.csr) > _MAX_CSR:
            raise RingfenceError(Kind.INVALID, f"a certificate signing request has at most {_MAX_CSR} bytes")
        key = csr_public_key(evidence.csr)
        # 3. The evidence proves who the node is; until then nothing is signed.
        proven = await attestor.prove(evidence)
        if isinstance(proven, Asked):
            return proven
        spiffe_id = SpiffeId(self._trust_domain, f"{AGENT_PREFIX}{attestor.name}/{proven.name}")
        # 4. It is not banned: nothing is signed for one that is.
        self._agents.check_ban(spiffe_id)
        # 5. Draft, check, record the intent, sign, check, record (issue).
        now = int(self._clock().timestamp())
        drafts: list[LeafDraft] = []
        chain = await self._issuer.own_svid(spiffe_id, key, on_draft=drafts.append)
        # 6. Remember the node, which a ban since then refuses; then deliver.
        serial, not_after = f"{drafts[0].serial:032x}", int(drafts[0].not_after.timestamp())
        selectors = tuple(map(str, proven.selectors))
        node = Node(str(spiffe_id), attestor.name, now, serial, not_after, selectors=selectors)
        await self._agents.attested(node)
        return node, chain


def _not_taken(kind: str, taken: Iterable[str]) -> RingfenceError:
    if not kind:
        return RingfenceError(Kind.INVALID, "no evidence was given", hint="Pass --join-token")
    return RingfenceError(
        Kind.DENIED,
        f"this server takes no {kind} evidence, only {', '.join(sorted(taken))}",
        hint="Start it with --x509pop-ca, --k8s-clusters or --tpm-devid-ca, or the agent with --attestor join_token",
    )
