"""The plug-ins that a server's configuration asks for; each is imported by those alone who ask for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime

from ringfence.broker.attest.node_port import NodeAttestor
from ringfence.broker.config import ServerConfig
from ringfence.broker.keys.choice import Unlocked
from ringfence.broker.signing.port import Here, Signing
from ringfence.certs.upstream import Upstream


def node_attestors(config: ServerConfig, clock: Callable[[], datetime]) -> Iterator[NodeAttestor]:
    """Those that the configuration asks for, beside join tokens; raises INVALID."""
    if config.x509pop_ca:
        from ringfence.broker.attest.roots import RootFiles
        from ringfence.broker.attest.x509pop import X509PopAttestor

        roots = RootFiles(config.x509pop_ca, "--x509pop-ca")
        yield X509PopAttestor(config.trust_domain, roots, below=config.x509pop_spiffe, clock=clock)
    if config.k8s_clusters:
        from ringfence.broker.attest.k8s_clusters import read_clusters
        from ringfence.broker.attest.k8s_psat import PsatAttestor

        yield PsatAttestor(read_clusters(config.k8s_clusters))
    if config.tpm_devid_ca:
        from ringfence.broker.attest.roots import RootFiles
        from ringfence.broker.attest.tpm_devid import TpmDevidAttestor

        devid = RootFiles(config.tpm_devid_ca, "--tpm-devid-ca")
        endorsement = RootFiles(config.tpm_ek_ca, "--tpm-ek-ca")
        yield TpmDevidAttestor(config.trust_domain, devid, endorsement, clock=clock)


def upstream_of(config: ServerConfig, loop: asyncio.AbstractEventLoop) -> Upstream | None:
    """Who signs our authorities."""
    if config.above is None:
        return config.upstream
    from ringfence.broker.nested.above import Above

    return Above(config.above, config.trust_domain, loop)


def signing_of(config: ServerConfig, unlocked: Unlocked) -> Signing:
    """Where X509-SVIDs are signed; raises INVALID."""
    if not config.signers:
        return Here()
    from ringfence.broker.signing.pool import Signers  # most servers sign by themselves

    return Signers(config.signers, config.trust_domain, unlocked)
