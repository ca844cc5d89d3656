"""Mutual TLS as gRPC has it (gRFC A29): certificates come from a provider of the bootstrap, never from SDS.

A listener or a cluster without a transport socket would be served in plaintext; both therefore get theirs here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ringfence.policy.callers import NOBODY, RevokedCaller
from ringfence.policy.identities import Identity, Ranks
from ringfence.xds import codec, ranks
from ringfence.xds.proxyless.names import PROVIDER
from ringfence.xds.proxyless.who import matching

_TLS = "envoy.extensions.transport_sockets.tls.v3"
_INSTANCE = {"instance_name": PROVIDER}


def server_tls() -> dict[str, Any]:
    """The transport socket of a served port: our own SVID, and a caller who proves one.

    gRPC refuses `tls_params` and a list of names here; who may call is for the rules.
    """
    return codec.extension(
        "envoy.transport_sockets.tls",
        f"{_TLS}.DownstreamTlsContext",
        common_tls_context={
            "tls_certificate_provider_instance": _INSTANCE,
            "validation_context": {"ca_certificate_provider_instance": _INSTANCE},
        },
        require_client_certificate={"value": True},
    )


def client_tls(peer: Identity, revoked: Mapping[str, RevokedCaller] = NOBODY) -> dict[str, Any]:
    """The transport socket towards *peer*: only a server that proves exactly this identity is spoken to.

    Of a job it is any of its ranks but those that are *revoked*.

    gRPC ignores `match_typed_subject_alt_names`, which Envoy wants, and would take any certificate of the mesh.
    """
    name = {"exact": str(peer)}
    if isinstance(peer, Ranks):
        name = matching(ranks.pattern(peer, ranks.gone(peer, revoked)))
    return codec.extension(
        "envoy.transport_sockets.tls",
        f"{_TLS}.UpstreamTlsContext",
        common_tls_context={
            "tls_certificate_provider_instance": _INSTANCE,
            "validation_context": {
                "ca_certificate_provider_instance": _INSTANCE,
                "match_subject_alt_names": [name],
            },
        },
    )
