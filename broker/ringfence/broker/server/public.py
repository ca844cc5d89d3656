"""What strangers may read of a server, each on a listener of its own: OIDC discovery and the trust bundle."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from functools import partial

from ringfence.broker.address import Address
from ringfence.broker.config import ServerConfig, Web
from ringfence.broker.http import JSON, Page, serve_pages
from ringfence.broker.server.parts import Parts
from ringfence.broker.server.web_tls import CertificateFiles, newest
from ringfence.certs import oidc


async def serve_oidc(config: ServerConfig, parts: Parts, stack: AsyncExitStack) -> Address | None:
    """The two documents of OpenID Connect discovery on `--oidc-listen`; raises INVALID or UNAVAILABLE."""
    if config.oidc is None:
        return None
    tls = await _from_files(config.oidc, stack)
    return await _serve(config.oidc, OidcPages(config.oidc_issuer, parts), tls, "--oidc-listen", stack)


async def serve_bundle(config: ServerConfig, parts: Parts, stack: AsyncExitStack) -> Address | None:
    """The bundle endpoint (SPIFFE_Federation.md section 5) on `--bundle-listen`; raises INVALID or UNAVAILABLE."""
    if config.bundle_endpoint is None:
        return None
    tls = await _from_files(config.bundle_endpoint, stack) or newest(parts.identity.open_context)
    routes = {"/": lambda: Page(200, parts.trust.bundle.to_json(), JSON)}
    return await _serve(config.bundle_endpoint, routes, tls, "--bundle-listen", stack)


class OidcPages(Mapping[str, Callable[[], Page]]):
    """Made anew from the present keys at every request, so that a new key is there before its first token."""

    def __init__(self, issuer: str, parts: Parts) -> None:
        self._issuer = issuer
        self._parts = parts

    def __getitem__(self, path: str) -> Callable[[], Page]:
        return partial(Page, 200, self._made()[path], JSON)

    def __iter__(self) -> Iterator[str]:
        return iter(self._made())

    def __len__(self) -> int:
        return len(self._made())

    def _made(self) -> Mapping[str, bytes]:
        return oidc.pages(self._issuer, self._parts.trust.bundle)


async def _from_files(web: Web, stack: AsyncExitStack) -> ssl.SSLContext | None:
    if web.files is None:
        return None
    files = CertificateFiles(*web.files)
    await files.load()
    task = asyncio.create_task(files.follow())
    stack.callback(task.cancel)
    return newest(files.context)


async def _serve(
    web: Web,
    routes: Mapping[str, Callable[[], Page]],
    tls: ssl.SSLContext | None,
    flag: str,
    stack: AsyncExitStack,
) -> Address:
    server = await serve_pages(web.listen.host, web.listen.port, routes, tls=tls, flag=flag)
    stack.callback(server.close)
    return Address(web.listen.host, server.sockets[0].getsockname()[1])
