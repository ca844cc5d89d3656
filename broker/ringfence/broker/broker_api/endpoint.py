"""The sockets of the Broker API: mutual TLS on each, a Unix socket too, with the agent's own SVID."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from ringfence.broker.agent.cache import Cache
from ringfence.broker.agent.dial import load_chain
from ringfence.broker.agent.svids import HeldSvid
from ringfence.broker.agent.tokens import Tokens
from ringfence.broker.agent.unknown import UnknownKeys
from ringfence.broker.agent.watches import Watches
from ringfence.broker.broker_api.allowed import KUBERNETES, PID, BrokerConfig
from ringfence.broker.broker_api.api import BrokerApi
from ringfence.broker.broker_api.pids import PidResolver
from ringfence.broker.broker_api.references import References, Resolver
from ringfence.broker.broker_api.sessions import Sessions
from ringfence.broker.http import cannot_listen
from ringfence.broker.status import hidden
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.proto.lane import Lane

if TYPE_CHECKING:
    from ringfence.broker.attest.k8s_pods import Pods

# The socket itself keeps nobody out: TLS and the list do, and the folder is the operator's.
_MODE = 0o777
_NO_ISSUER = 20  # X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY of OpenSSL's x509_vfy.h


class Credentials:
    """`context()` gives the TLS context of the present SVID and bundles, one and the same until either changes."""

    def __init__(self, svid: Callable[[], HeldSvid], cache: Cache) -> None:
        self._svid = svid
        self._cache = cache
        self._context: ssl.SSLContext | None = None
        self._made_for: object = None

    def context(self) -> ssl.SSLContext:
        """TLS 1.3 for one more connection, whose client proves a certificate of our trust domain or a federated one."""
        wanted = (self._svid().serial, self._cache.bundles.version)
        if self._context is None or wanted != self._made_for:
            self._context, self._made_for = self._make(), wanted
        return self._context

    def _make(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.num_tickets = 0  # a resumed session would not be held against the list, nor against today's bundles
        # All roots at once: that the right one vouched is Sessions' business, which knows whose ID it is.
        with suppress(ssl.SSLError):  # of no root at all; then nobody verifies
            context.load_verify_locations(cadata=b"".join(b.x509_der() for b in self._cache.bundles.all.values()))
        load_chain(context, self._svid())
        return context


class Untrusted:
    """Brokers whose issuer no bundle here has: *look_for* is told of the trust domains whose brokers are allowed.

    Not of the one that the certificate names: a failed handshake shows us none. So a stranger has nothing to choose.
    """

    def __init__(self, config: BrokerConfig, own: TrustDomain, look_for: Callable[[TrustDomain], None]) -> None:
        self._domains = sorted({broker.id.trust_domain for broker in config.brokers} - {own})
        self._look_for = look_for

    def __call__(self, error: ssl.SSLCertVerificationError) -> None:
        """The lane's hook."""
        if error.verify_code == _NO_ISSUER:
            for domain in self._domains:
                self._look_for(domain)


async def serve_brokers(
    config: BrokerConfig,
    svid: Callable[[], HeldSvid],
    watches: Watches,
    tokens: Tokens,
    pods: Pods | None = None,
    *,
    tell: Callable[[str, str], bool] = lambda *_: False,
) -> Lane:
    """A lane on the sockets that *config* names; raises UNAVAILABLE when one of them can't be had.

    Without *pods* no Kubernetes object can be named. *tell* has the server look for a key of a trust domain.
    """
    sessions = Sessions(config.brokers, watches.cache)
    watches.cache.hooks.revoked = sessions.look_again
    resolvers: dict[str, Resolver] = {PID: PidResolver(watches.callers)}
    if pods is not None:
        from ringfence.broker.broker_api.pods import PodResolver  # most nodes have none

        resolvers[KUBERNETES] = PodResolver(pods)
    api = BrokerApi(sessions, References(resolvers), watches, tokens)
    untrusted = Untrusted(config, watches.cache.bundles.own.trust_domain, UnknownKeys(tell).look_for)
    lane = Lane(api.methods(), on_error=hidden, on_connect=sessions.admit, on_untrusted=untrusted)
    tls = Credentials(svid, watches.cache).context
    if (path := config.socket) is not None:
        try:
            await asyncio.to_thread(path.parent.mkdir, mode=0o750, parents=True, exist_ok=True)
            await lane.listen_unix(path, _MODE, tls)
        except OSError as error:
            raise cannot_listen(str(path), error, flag="--broker-socket") from error
    if (address := config.listen) is not None:
        try:
            await lane.listen_tcp(address.host, address.port, tls)
        except OSError as error:
            await lane.close()
            raise cannot_listen(str(address), error, flag="--broker-listen") from error
    return lane
