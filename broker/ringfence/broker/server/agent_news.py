"""What one connected agent does not know yet, told from what it said that it holds and what it was sent since."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.federation.federation import Federation
from ringfence.broker.registry import Registry
from ringfence.broker.revoked import Revoked
from ringfence.broker.server import agent_messages as say
from ringfence.broker.server.agent_fabrics import AgentFabrics
from ringfence.broker.trust import SPREAD_MS, Trust
from ringfence.certs.bundle import SpiffeBundle, digest_of
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId


class News:
    """For one stream. *hello* is what *agent* came with; `issuer` the key id of whoever signed its SVID."""

    def __init__(
        self,
        agent: SpiffeId,
        hello: Any,
        issuer: str,
        *,
        registry: Registry,
        trust: Trust,
        federation: Federation,
        revoked: Revoked,
        fabrics: AgentFabrics | None = None,
    ) -> None:
        self.issuer = issuer
        self._agent = agent
        self._registry = registry
        self._trust = trust
        self._federation = federation
        self._held = revoked
        self._fabrics = fabrics
        self._revision: int = hello.revision
        self._digest: bytes = hello.bundle_digest
        self._federated: bytes = hello.federated_digest
        self._revoked: bytes = hello.revoked_digest
        self._revoked_version = -1  # of what was looked up last
        self._seen: SpiffeBundle | None = None  # of ours, and its digest
        self._newest = b""
        self._looked_at = (-1, -1)  # revision and federation, of the foreign bundles last looked up
        self._rotations = trust.rotations
        self._tainted: frozenset[str] = frozenset()

    def forget_bundle(self) -> None:
        """Have our bundle be news, whatever was sent before."""
        self._digest = b""

    def take(self, *, first: bool) -> Iterator[Any]:
        """All of it, which is none any more: who is out, then the bundle, then the entries that need it.

        With *first* entries are told of even if they are what the agent holds. Raises UNAUTHENTICATED.
        """
        yield from self._revocations()  # first, so that whoever is out of a job by one is told why
        if self._fabrics is not None:
            yield from self._fabrics.news()
        yield from self._bundles()
        yield from self._entries(first=first)
        yield from self._rotation()

    def _entries(self, *, first: bool) -> Iterator[Any]:
        if not first and self._registry.revision == self._revision:
            return
        delta = self._registry.delta(self._agent, self._revision)
        lost = say.revocations(delta, self._registry, self._agent)
        self._revision = delta.revision
        yield from say.entries_updates(delta)
        yield from filter(None, [lost])

    def _rotation(self) -> Iterator[Any]:
        if self._trust.rotations != self._rotations:
            self._rotations = self._trust.rotations
            yield pb.ServerMessage(rotate=pb.Rotate(spread_ms=SPREAD_MS))
        tainted = self._trust.tainted
        if fresh := sorted(tainted - self._tainted):
            # Told anew to everyone who connects, so that no agent misses it that was away, and no restart of ours.
            yield pb.ServerMessage(rotate=pb.Rotate(spread_ms=SPREAD_MS, authorities=fresh))
        self._tainted = tainted

    def _check_issuer(self) -> None:
        """Raise UNAUTHENTICATED when whoever signed the agent's SVID was revoked: nothing more is said to it."""
        if self.issuer not in self._trust.issuers:
            raise RingfenceError(
                Kind.UNAUTHENTICATED,
                f"the authority that signed the SVID of {self._agent} was revoked",
                hint="Attest it anew with `ringfence token generate`",
            )

    def _revocations(self) -> list[Any]:
        """What is revoked, whole, if it is anything else than the agent holds, also from before it was away."""
        held = self._held
        if held.version == self._revoked_version:
            return []
        self._revoked_version = held.version
        revoked = say.revoked(held, self._agent)
        digest = hashlib.sha256(revoked).digest() if revoked else b""
        if digest == self._revoked:
            return []
        self._revoked = digest
        return [pb.ServerMessage(revoked=pb.RevokedUpdate(revoked=revoked))]

    def _bundles(self) -> list[Any]:
        """Our bundle if it is not known; with it, or when they change, those that the agent's entries federate with."""
        digest = self._newest_digest()
        if digest != self._digest:
            self._check_issuer()
        looked_at = (self._registry.revision, self._federation.version)
        if digest == self._digest and looked_at == self._looked_at:
            return []
        self._looked_at = looked_at
        others = self._federation.bundles_for(self._registry.entitled(self._agent))
        federated = digest_of(others.values())
        if (digest, federated) == (self._digest, self._federated):
            return []
        update = pb.BundleUpdate(federated={domain.name: other.to_json() for domain, other in others.items()})
        if digest != self._digest:
            update.bundle = self._trust.bundle.to_json()
        self._digest, self._federated = digest, federated
        return [pb.ServerMessage(bundle=update)]

    def _newest_digest(self) -> bytes:
        """Of our bundle as it is now; most that rings leaves it alone."""
        if self._trust.bundle is not self._seen:
            self._seen = self._trust.bundle
            self._newest = hashlib.sha256(self._seen.to_json()).digest()
        return self._newest
