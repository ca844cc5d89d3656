"""Who is at the other end: a broker's connection, from its certificate to the list of those that are allowed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime

from ringfence.broker.agent import events
from ringfence.broker.agent.cache import Cache
from ringfence.broker.broker_api.allowed import Broker
from ringfence.broker.status import status_of
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.certificate import issuer_key_id, read_certificate
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.revocation import serial_of
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
        self._verified = (cache.bundles.version, cache.revoked)

    def check(self) -> None:
        """Raise UNAUTHENTICATED or DENIED unless it is still to be believed; only after a change that is work."""
        now = (self._cache.bundles.version, self._cache.revoked)
        if now[0] != self._verified[0] or now[1] is not self._verified[1]:
            _verify(self._chain, self._cache)
            self._verified = now


class Sessions:
    """Lets in the brokers that are allowed, and nobody else."""

    def __init__(self, allowed: Iterable[Broker], cache: Cache) -> None:
        self._allowed: dict[SpiffeId, Broker] = {broker.id: broker for broker in allowed}
        self._cache = cache
        self._open: dict[Connection, Session] = {}

    def admit(self, connection: Connection) -> None:
        """The lane's hook; raises UNAUTHENTICATED and DENIED, with which every call is refused then."""
        chain = connection.peer.chain
        try:
            broker = self._who(chain)
        except RingfenceError as error:
            events.broker_refused(connection.peer.address, error)
            raise
        connection.context[_KEY] = self._open[connection] = Session(broker, chain, self._cache)
        connection.closed.add_done_callback(lambda _: self._open.pop(connection))
        # 3. The connection ends with the certificate that opened it.
        _end_at(parse_svid(chain).not_after, self._cache.clock(), connection)
        events.broker_admitted(broker.id, connection.peer.address)

    def look_again(self) -> None:
        """Something was revoked: a broker that it is loses its connection now, whatever its streams wait for."""
        for connection, session in tuple(self._open.items()):
            try:
                session.check()
            except RingfenceError as error:
                events.broker_refused(connection.peer.address, error)
                connection.cut(status_of(error))

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
    found = verify_peer(chain, bundle, now=cache.clock())
    _check_revoked(found, chain[0], cache)
    return found


def _check_revoked(spiffe_id: SpiffeId, leaf: bytes, cache: Cache) -> None:
    if cache.revoked.is_identity(spiffe_id):
        raise RingfenceError(Kind.DENIED, f"{spiffe_id} was revoked")
    if not cache.revoked.crls:
        return
    from ringfence.certs.crl import read_crl  # nothing is revoked, mostly

    certificate = read_certificate(leaf)
    issuer, serial = issuer_key_id(certificate), serial_of(certificate.serial_number)
    if any(serial in crl.serials for crl in map(read_crl, cache.revoked.crls) if crl.authority == issuer):
        raise RingfenceError(Kind.UNAUTHENTICATED, f"the certificate of {spiffe_id} was revoked")


def _end_at(end: datetime, now: datetime, connection: Connection) -> None:
    status = Status(Code.UNAVAILABLE, "the broker's certificate has ended: connect with the next one")
    timer = asyncio.get_running_loop().call_later(max((end - now).total_seconds(), 0), connection.cut, status)
    connection.closed.add_done_callback(lambda _: timer.cancel())
