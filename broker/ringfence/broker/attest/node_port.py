"""What a node attestor is: from the evidence that an agent sends to who the node is. One file an implementation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from ringfence.certs.selectors import Selector

NONCE_BYTES = 32  # of a challenge


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one call of Attest brought.

    `given` is the branch of the message's oneof that is the attestor's own. `csr` was checked already. `nonce` is what
    the server gave out on this very connection, empty if nothing was asked for or it was used before. `pending` is what
    the attestor of the call before on this connection wanted remembered, which may have been another one.
    """

    given: Any = field(repr=False)
    csr: bytes = field(repr=False)
    nonce: bytes = field(repr=False)
    pending: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Proven:
    """The node is the agent `/ringfence/agent/ATTESTOR/name`, and these selectors are true of it."""

    name: str
    selectors: tuple[Selector, ...] = ()  # sorted


@dataclass(frozen=True, slots=True)
class Asked:
    """Not proved yet: the agent is sent *answer*, and its next call on this connection comes with *pending*, once."""

    answer: Any  # an AttestResponse that admits nobody
    pending: Any = field(repr=False)


class NodeAttestor(Protocol):
    """One way to prove what node an agent runs on. It believes nothing that the evidence does not prove."""

    name: str  # the branch of AttestRequest.evidence, and the segment of the agent's SPIFFE ID
    can_reattest: bool  # whether the same evidence may come again

    async def prove(self, evidence: Evidence) -> Proven | Asked:
        """Who the node is, or what is asked of it first; raises UNAUTHENTICATED or INVALID. Called once a call."""
        ...
