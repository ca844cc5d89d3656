"""Where a proxy gets what it needs: configuration by ADS, secrets by SDS, and TLS contexts made of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import Any

from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.callers import NOBODY, RevokedCaller
from ringfence.policy.identities import Identity, Ranks
from ringfence.xds import codec, ranks
from ringfence.xds.sharing import shared

# Static clusters of every proxy's bootstrap.
SERVER_CLUSTER = "ringfence_server"
AGENT_CLUSTER = "ringfence_agent"

_ALL_BUNDLES = "ALL"  # SPIRE's name, and ours, for the SPIFFE validator with every bundle
_UNBOUNDED = (1 << 32) - 1
_REGEX = "envoy.type.matcher.v3.RegexMatcher"
_TLS = "envoy.extensions.transport_sockets.tls.v3"
_TLS_1_2_UP = {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"}
_SECRETS = 256  # messages kept for proxies that are compiled next: a proxy names its own in every cluster
_NEVER = timedelta(0)  # of initial_fetch_timeout: wait for as long as it takes, serve nothing before


def grpc_service(cluster: str) -> dict[str, Any]:
    """A gRPC service behind a static cluster; the same for all users of it, so that Envoy shares its streams."""
    backoff = {"base_interval": timedelta(milliseconds=200), "max_interval": timedelta(seconds=5)}
    return {"envoy_grpc": {"cluster_name": cluster, "retry_policy": {"retry_back_off": backoff}}}


@cache
def by_ads() -> Any:
    """The config source that stands for the proxy's one ADS stream; one message, which whoever holds it copies."""
    return codec.build(
        "envoy.config.core.v3.ConfigSource", ads={}, resource_api_version="V3", initial_fetch_timeout=_NEVER
    )


@shared(_SECRETS)
def secret(name: str) -> Any:
    """A secret of that name from the agent. No timeout: the agent may hold it longer than Envoy's default 15 s."""
    return codec.build(f"{_TLS}.SdsSecretConfig", name=name, sds_config=_by_sds())


@cache
def _by_sds() -> Any:
    source = {
        "api_type": "GRPC",
        "transport_api_version": "V3",
        "set_node_on_first_message_only": True,
        "grpc_services": [grpc_service(AGENT_CLUSTER)],
    }
    fields = {"api_config_source": source, "resource_api_version": "V3", "initial_fetch_timeout": _NEVER}
    return codec.build("envoy.config.core.v3.ConfigSource", **fields)


def server_tls(own: SpiffeId, alpn: tuple[str, ...]) -> dict[str, Any]:
    """The transport socket of an inbound listener: our own SVID, and a caller who proves an SVID of a known domain."""
    common = {
        "tls_params": _tls_1_3(),
        "tls_certificate_sds_secret_configs": [secret(str(own))],
        "validation_context_sds_secret_config": secret(_ALL_BUNDLES),
        "alpn_protocols": alpn,
    }
    return codec.extension(
        "envoy.transport_sockets.tls",
        f"{_TLS}.DownstreamTlsContext",
        common_tls_context=common,
        require_client_certificate={"value": True},
        disable_stateless_session_resumption=True,  # a resumed session would not present its certificate again
    )


def client_tls(own: SpiffeId, peer: Identity, revoked: Mapping[str, RevokedCaller] = NOBODY) -> dict[str, Any]:
    """The transport socket towards *peer*: only a server that proves exactly this identity is spoken to.

    Of a job it is any of its ranks but those that are *revoked*.

    Envoy's default for clients is TLS 1.2 (design section 7.7). ALPN is left to Envoy, which knows the protocol.
    """
    context = codec.copied(_towards_nobody(str(own)))
    validation = context.common_tls_context.combined_validation_context.default_validation_context
    name = validation.match_typed_subject_alt_names[0].matcher
    if isinstance(peer, Ranks):
        name.safe_regex.CopyFrom(_any_size(ranks.pattern(peer, ranks.gone(peer, revoked))))
    else:
        name.exact = str(peer)
    return {"name": "envoy.transport_sockets.tls", "typed_config": codec.pack(context)}


def _any_size(regex: str) -> Any:
    """Left to itself Envoy takes up to 100 instructions here, which one long name has already (`max_program_size`)."""
    return codec.build(_REGEX, google_re2={"max_program_size": {"value": _UNBOUNDED}}, regex=regex)


@shared(_SECRETS)
def _towards_nobody(own: str) -> Any:
    """The TLS context of a caller that speaks to a peer of no name, which there is not."""
    nobody = {"san_type": "URI", "matcher": {"exact": ""}}
    common = {
        "tls_params": _tls_1_3(),
        "tls_certificate_sds_secret_configs": [secret(own)],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": [nobody]},
            "validation_context_sds_secret_config": secret(_ALL_BUNDLES),
        },
    }
    return codec.build(f"{_TLS}.UpstreamTlsContext", common_tls_context=common)


def outside_tls(host: str, *, is_address: bool, roots: dict[str, Any]) -> dict[str, Any]:
    """The transport socket towards a host outside: its certificate must name exactly *host* under *roots*."""
    exact = {"san_type": "IP_ADDRESS" if is_address else "DNS", "matcher": {"exact": host}}
    common = {
        "tls_params": _TLS_1_2_UP,
        "validation_context": {"trusted_ca": roots, "match_typed_subject_alt_names": [exact]},
    }
    sni = {} if is_address else {"sni": host}
    return codec.extension(
        "envoy.transport_sockets.tls", f"{_TLS}.UpstreamTlsContext", common_tls_context=common, **sni
    )


def outside_tls_by_name(roots: dict[str, Any]) -> dict[str, Any]:
    """The same where only the request has the name: `auto_sni` and `auto_san_validation` of the cluster add it."""
    common = {"tls_params": _TLS_1_2_UP, "validation_context": {"trusted_ca": roots}}
    return codec.extension("envoy.transport_sockets.tls", f"{_TLS}.UpstreamTlsContext", common_tls_context=common)


def _tls_1_3() -> dict[str, Any]:
    return {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"}
