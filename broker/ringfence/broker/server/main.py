"""The process `ringfence server run`: from what was given on the command line to a graceful end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import uvloop

from ringfence.broker.access.access import AccessConfig
from ringfence.broker.address import Address
from ringfence.broker.config import ServerConfig
from ringfence.broker.keys.choice import KeyChoice
from ringfence.broker.log import configure
from ringfence.broker.server.daemon import running_server
from ringfence.broker.server.web_config import bundle_endpoint_of, oidc_of
from ringfence.broker.store.location import Location
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.certs.upstream import Upstream

if TYPE_CHECKING:
    from ringfence.broker.nested.choice import AboveChoice


def config_of(given: Mapping[str, Any]) -> ServerConfig:
    """The configuration that flags, environment and file amount to; raises INVALID."""

    def address(name: str) -> Address | None:
        return Address.parse(given[name], flag=f"--{name.replace('_', '-')}") if given[name] else None

    return ServerConfig(
        trust_domain=TrustDomain(given["trust_domain"]),
        data_dir=given["data_dir"],
        listen=Address.parse(given["listen"], flag="--listen"),
        database=Location.parse(given["database"]) if given["database"] else None,
        intent=given["intent"],
        admin_socket=given["admin_socket"],
        http_listen=address("http_listen"),
        otlp_listen=address("otlp_listen"),
        otlp_forward=given["otlp_forward"],
        oidc=oidc_of(given),
        oidc_issuer=given["oidc_issuer"],
        bundle_endpoint=bundle_endpoint_of(given),
        ca_ttl=timedelta(seconds=given["ca_ttl"]),
        ledger_retention=timedelta(seconds=given["ledger_retention"]),
        audit_rotate_bytes=given["audit_rotate_mib"] << 20,
        x509pop_ca=given["x509pop_ca"],
        x509pop_spiffe=SpiffeId.parse(given["x509pop_spiffe"]) if given["x509pop_spiffe"] else None,
        tpm_devid_ca=given["tpm_devid_ca"],
        tpm_ek_ca=given["tpm_ek_ca"],
        k8s_clusters=given["k8s_clusters"],
        keys=KeyChoice.of(given),
        signers=given["signers"],
        upstream=_upstream(given),
        above=_above(given),
        spire_listen=address("spire_listen"),
        features=frozenset(given["features"]),
        access=_access(given),
        log_level=given["log_level"],
    )


def _upstream(given: Mapping[str, Any]) -> Upstream | None:
    files = [given.get(f"upstream_{name}") for name in ("cert", "key", "roots")]
    if not any(files):
        return None
    from ringfence.broker.upstream import upstream_of

    return upstream_of(*files)


def _above(given: Mapping[str, Any]) -> AboveChoice | None:
    if not given.get("upstream_server") and not given.get("upstream_socket"):
        return None
    from ringfence.broker.nested.choice import above_of

    return above_of(given)


def _access(given: Mapping[str, Any]) -> AccessConfig | None:
    if given.get("access") is None:
        return None
    from ringfence.broker.access.config import access_of  # 0.1 s of pydantic that most servers save

    return access_of(given["access"], TrustDomain(given["trust_domain"]))


def serve(config: ServerConfig) -> None:
    """Run until SIGTERM or SIGINT; raises RingfenceError for whatever keeps it from starting."""
    configure(config.log_level)
    uvloop.run(_until_told(config))


async def _until_told(config: ServerConfig) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    async with running_server(config):
        await told.wait()
