"""The admin calls as the sockets of a server serve them: guarded, recorded, and on --listen only if asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringfence.broker.access.access import Access, AccessConfig
from ringfence.broker.access.authenticate import Authenticator
from ringfence.broker.access.guard import Guard
from ringfence.broker.audit.calls import OnConnect, audited_connections
from ringfence.broker.audit.journal import AuditLog
from ringfence.broker.config import ServerConfig
from ringfence.broker.server.admin_api import only_own_user
from ringfence.proto.lane import Method

if TYPE_CHECKING:
    from ringfence.broker.access.tokens import TokenIssuer
    from ringfence.broker.server.parts import Parts

_NO_GRANTS = AccessConfig()
_OWN, _ANYBODY = 0o600, 0o666  # the kernel says who it is; what they may is for the guard


def guarded(config: ServerConfig, parts: Parts) -> dict[str, Method]:
    """The admin calls of *parts* for whom *config* says; raises INVALID for keys that cannot be read."""
    access = config.access or _NO_GRANTS
    authenticator = Authenticator(parts.trust, _issuers(access), parts.clock)
    guard = Guard(Access(access, parts.registry), authenticator, parts.audit, parts.clock)
    return guard.methods(parts.admin_api.methods())


def on_network(config: ServerConfig) -> bool:
    """Whether the admin calls are served on --listen too."""
    return config.access is not None and config.access.network


def admission(config: ServerConfig, audit: AuditLog) -> tuple[OnConnect | None, int]:
    """The hook and the mode of the admin socket: without grants to other users it is closed to them altogether."""
    if config.access is not None and config.access.is_local_open:
        return None, _ANYBODY
    return audited_connections(only_own_user, audit), _OWN


def _issuers(access: AccessConfig) -> dict[str, TokenIssuer]:
    if not access.issuers:
        return {}
    from ringfence.broker.access.issuers import open_issuer

    return {issuer.url: open_issuer(issuer) for issuer in access.issuers}
