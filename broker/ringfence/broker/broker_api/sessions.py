"""Who is at the other end: a broker's connection, from its certificate to the list of those that are allowed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime

from ringfence.broker.agent import events
from ringfence.broker.agent.cache import Cache
from ringfence.broker.broker_api.allowed import Broker
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.certs.svid import parse_svid, spiffe_id_of, verify_peer
from ringfence.proto.lane import Connection
from ringfence.proto.status import Code, Status

_KEY = "broker session"  # in Connection.context


class Session:
    """One broker for the life of its connection; believed for no longer than its trust domain vouches for it."""

    def __init__(self, broker: Broker, chain: tuple[bytes, ...], cache: Cache) -> None:
        self.broker = broker
        self._chain = chain
        self._cache = cache
        self._verified = cache.bundles.version

    def check(self) -> None:
        """Raise UNAUTHENTICATED unless the bundles of now still lead to it; only a change of them is work."""
        if self._verified != self._cache.bundles.version:
            _verify(self._chain, self._cache)
            self._verified = self._cache.bundles.version


class Sessions:
    """Lets in the brokers that are allowed, and nobody else."""

    def __init__(self, allowed: Iterable[Broker], cache: Cache) -> None:
        self._allowed: dict[SpiffeId, Broker] = {broker.id: broker for broker in allowed}
        self._cache = cache

    def admit(self, connection: Connection) -> None:
        """The lane's hook; raises UNAUTHENTICATED and DENIED, with which every call is refused then."""
        chain = connection.peer.chain
        try:
            broker = self._who(chain)
        except RingfenceError as error:
            events.broker_refused(connection.peer.address, error)
            raise
        connection.context[_KEY] = Session(broker, chain, self._cache)
        # 3. The connection ends with the certificate that opened it.
        _end_at(parse_svid(chain).not_after, self._cache.clock(), connection)
        events.broker_admitted(broker.id, connection.peer.address)

    def _who(self, chain: tuple[bytes, ...]) -> Broker:
        # 1. TLS proved the key. The chain leads to the trust domain that its ID names: no other may vouch for it.
        found = _verify(chain, self._cache)
        # 2. It is listed; nothing else lets a broker in (SPIFFE_Broker_Endpoint.md section 5).
        broker = self._allowed.get(found)
        if broker is None:
            raise RingfenceError(Kind.DENIED, f"{found} is not allowed to use the Broker API")
        return broker

    @staticmethod
    def of(connection: Connection) -> Session:
        """The session of a connection that was let in, still believed; raises UNAUTHENTICATED."""
        session: Session | None = connection.context.get(_KEY)
        if session is None:
            raise Status(Code.UNAUTHENTICATED, "no broker was identified on this connection")
        session.check()
        return session


def _verify(chain: tuple[bytes, ...], cache: Cache) -> SpiffeId:
    if not chain:
        raise RingfenceError(Kind.UNAUTHENTICATED, "a broker shows an X509-SVID")
    domain = spiffe_id_of(chain[0]).trust_domain
    bundle = cache.bundles.all.get(domain, SpiffeBundle(domain))  # an empty one vouches for nobody
    return verify_peer(chain, bundle, now=cache.clock())


def _end_at(end: datetime, now: datetime, connection: Connection) -> None:
    status = Status(Code.UNAVAILABLE, "the broker's certificate has ended: connect with the next one")
    timer = asyncio.get_running_loop().call_later(max((end - now).total_seconds(), 0), connection.cut, status)
    connection.closed.add_done_callback(lambda _: timer.cancel())
