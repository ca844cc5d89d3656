"""The server above as an upstream authority: for each question a fresh SVID, one connection, one call.

Questions are rare (a new authority at half of the life of the one before), so nothing is kept open for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Any

import grpc.aio
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_private_key
from google.protobuf.descriptor import ServiceDescriptor

from ringfence.broker.agent.dial import Dialler, Trust
from ringfence.broker.agent.fetching import messages
from ringfence.broker.agent.svids import HeldSvid
from ringfence.broker.nested.choice import AboveChoice
from ringfence.broker.run.identity import split_der
from ringfence.broker.status import error_of
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.shared import spki_of
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.certs.upstream import Minted
from ringfence.proto import spire, workload
from ringfence.proto.client import Client

PATIENCE = 15.0  # seconds for all of one question


class Above:
    """Asked from threads (as an upstream authority is) and from the loop that it was told of."""

    def __init__(self, choice: AboveChoice, trust_domain: TrustDomain, loop: asyncio.AbstractEventLoop) -> None:
        self.choice = choice
        self._trust_domain = trust_domain
        self._loop = loop

    @property
    def shares(self) -> bool:
        """Yes: its trust domain is ours."""
        return True

    def mint(self, trust_domain: TrustDomain, request: bytes, *, now: datetime, ttl: timedelta) -> Minted:  # noqa: ARG002
        """An intermediate that the server above signs, for as long as it likes; raises UNAVAILABLE, DENIED."""
        asked = spire.NewDownstreamX509CARequest(csr=request, preferred_ttl=int(ttl.total_seconds()))
        answer = self._from_thread(self._ask(spire.SVID, "NewDownstreamX509CA", asked))
        if not answer.ca_cert_chain or not answer.x509_authorities:
            raise RingfenceError(Kind.INVALID, "the server above signed nothing", where=str(self.choice.server))
        ours, *others = answer.ca_cert_chain
        return Minted(ours, tuple(others), tuple(answer.x509_authorities))

    def publish(self, kid: str, key: ec.EllipticCurvePublicKey, not_after: datetime) -> None:
        """Have a key known in the whole trust domain; raises UNAVAILABLE, DENIED, INVALID."""
        self._from_thread(self.send(kid, spki_of(key), not_after))

    async def send(self, kid: str, spki: bytes, not_after: datetime) -> None:
        """The same from the loop; a key whose end has passed is withdrawn, if the server above knows how."""
        key = spire.JWTKey(key_id=kid, public_key=spki, expires_at=int(not_after.timestamp()))
        await self._ask(spire.BUNDLE, "PublishJWTAuthority", spire.PublishJWTAuthorityRequest(jwt_authority=key))

    def _from_thread(self, question: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(question, self._loop).result()

    async def _ask(self, service: ServiceDescriptor, method: str, asked: Any) -> Any:
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._answer(service, method, asked)
        except TimeoutError:
            raise RingfenceError(
                Kind.UNAVAILABLE,
                f"no answer within {PATIENCE:g} s",
                where=str(self.choice.server),
                hint="Check the server above, its agent, and that an entry with --downstream matches this process",
            ) from None

    async def _answer(self, service: ServiceDescriptor, method: str, asked: Any) -> Any:
        # 1. Who we are, and who is to be believed: from the agent, at this moment.
        svid, bundle = await self._identity()
        trust = Trust(self._trust_domain, bundle, self.choice.server_path)
        # 2. Mutual TLS with the server above and nobody else.
        connection = await Dialler(self.choice.server, lambda: trust, lambda: svid).dial()
        # 3. The question.
        try:
            return await getattr(Client(connection.channel, service), method)(asked)
        except grpc.aio.AioRpcError as error:
            found = error_of(error, where=str(self.choice.server))
            hint = found.hint or (
                f"The entry of {svid.spiffe_id} there needs --downstream" if found.kind is Kind.DENIED else ""
            )
            raise RingfenceError(found.kind, found.detail, where=str(self.choice.server), hint=hint) from None
        finally:
            await connection.close()

    async def _identity(self) -> tuple[HeldSvid, SpiffeBundle]:
        updates = messages(self.choice.socket, "FetchX509SVID", workload.X509SVIDRequest(), PATIENCE)
        async with aclosing(updates):
            return identity_in(await anext(updates), self._trust_domain, self.choice)


def identity_in(answer: Any, trust_domain: TrustDomain, choice: AboveChoice) -> tuple[HeldSvid, SpiffeBundle]:
    """Our SVID in a Workload API's answer and its bundle; raises DENIED, INVALID, UNAUTHENTICATED."""
    where = choice.socket
    first = next((svid for svid in answer.svids if choice.spiffe_id in {"", svid.spiffe_id}), None)
    if first is None:
        raise RingfenceError(
            Kind.DENIED,
            f"the agent of the server above has no SVID {choice.spiffe_id} for this process".replace("  ", " "),
            where=where,
            hint="An entry over there has to match it; see --upstream-spiffe-id",
        )
    spiffe_id = SpiffeId.parse(first.spiffe_id)
    if spiffe_id.trust_domain != trust_domain:
        raise RingfenceError(
            Kind.INVALID,
            f"the server above is of the trust domain {spiffe_id.trust_domain}, not of {trust_domain}",
            where=where,
            hint="Servers above and below each other are of one trust domain; others federate",
        )
    try:
        key = load_der_private_key(first.x509_svid_key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise RingfenceError(Kind.INVALID, "the SVID's key cannot be read", where=where) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise RingfenceError(Kind.INVALID, "the SVID's key is no elliptic curve key", where=where)
    svid = HeldSvid.of(split_der(first.x509_svid), key, spiffe_id, 0)
    return svid, SpiffeBundle(trust_domain, tuple(split_der(first.bundle)))
