"""What the flags say of the pages for strangers, refused at start where they would not be safe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ringfence.broker.address import Address
from ringfence.broker.config import Web
from ringfence.certs.errors import Kind, RingfenceError


def oidc_of(given: Mapping[str, Any]) -> Web | None:
    """Where OIDC discovery is served, or None; raises INVALID, also for an issuer without a listener."""
    if not given["oidc_issuer"] and not given["oidc_listen"]:
        return None
    from ringfence.certs.oidc import check_issuer, is_loopback

    if given["oidc_issuer"]:
        check_issuer(given["oidc_issuer"])
    if not given["oidc_listen"]:
        return None
    listen = Address.parse(given["oidc_listen"], flag="--oidc-listen")
    if not given["oidc_issuer"]:
        raise RingfenceError(
            Kind.INVALID, "--oidc-listen needs --oidc-issuer", hint="Give the URL that verifiers know it by"
        )
    files = _files(given, "oidc")
    if files is None and not is_loopback(listen.host):
        raise RingfenceError(
            Kind.INVALID,
            "without a certificate, keys are shown to this machine only",
            where=str(listen),
            hint="Give --oidc-cert and --oidc-key, or listen on 127.0.0.1 behind a proxy that ends TLS",
        )
    return Web(listen, files)


def bundle_endpoint_of(given: Mapping[str, Any]) -> Web | None:
    """Where the bundle is published, and for https_web the files; None when it is not. Raises INVALID."""
    if not given["bundle_listen"]:
        return None
    listen = Address.parse(given["bundle_listen"], flag="--bundle-listen")
    files = _files(given, "bundle")
    if (files is not None) != (given["bundle_profile"] == "https_web"):
        raise RingfenceError(
            Kind.INVALID,
            "certificate files are for the profile https_web, and it cannot do without",
            hint="Give --bundle-profile https_web with --bundle-cert and --bundle-key, or none of them",
        )
    return Web(listen, files)


def _files(given: Mapping[str, Any], noun: str) -> tuple[Path, Path] | None:
    certificate, key = given[f"{noun}_cert"], given[f"{noun}_key"]
    if (certificate is None) != (key is None):
        raise RingfenceError(Kind.INVALID, f"--{noun}-cert and --{noun}-key come together", hint="Give both or none")
    return None if certificate is None else (certificate, key)
