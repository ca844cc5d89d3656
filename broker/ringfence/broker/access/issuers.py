"""Configured OIDC issuers as they are used: where the keys of each come from."""

from __future__ import annotations

from ringfence.broker.access.access import IssuerConfig
from ringfence.broker.access.issuer_keys import IssuerKeys, from_discovery, from_file, read_keys
from ringfence.broker.access.tokens import TokenIssuer
from ringfence.certs.errors import Kind, RingfenceError


def open_issuer(config: IssuerConfig) -> TokenIssuer:
    """Its tokens can be judged from here on; raises INVALID for a file of keys that holds none."""
    if config.keys is None:
        source = from_discovery(config.url, config.roots)
    else:
        if not read_keys(config.keys).keys:
            raise RingfenceError(Kind.INVALID, "it holds no public key", where=str(config.keys))
        source = from_file(config.keys)
    return TokenIssuer(config.url, config.audience, config.algorithms, IssuerKeys(source))
