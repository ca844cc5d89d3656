"""What an Envoy on this host holds beside what the server sent it: for `ringfence proxy diff`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ringfence.broker.cli.proxy_config import values_of
from ringfence.broker.run.admin import ask
from ringfence.broker.run.folder import admin_of
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.xds.config_dump import Sent, compared
from ringfence.xds.readable import KIND_OF

_SHOWN = 200  # characters of what an Envoy says instead
_PAGE = "/config_dump?include_eds"


def differences_of(proxy: Any, admin: Path | None) -> list[dict[str, Any]]:
    """A row for each resource that differs at the Envoy of a ProxyDump; raises UNAVAILABLE where it is not reached."""
    # 1. Only an Envoy can be asked.
    if proxy.proxyless:
        raise RingfenceError(
            Kind.INVALID,
            f"{proxy.node} is a gRPC library, which shows nobody what it holds",
            hint="See what it was sent and accepted with `ringfence proxy config`",
        )
    # 2. Its admin socket is in the private folder of its `ringfence run`, on its host.
    socket = admin or admin_of(proxy.node)
    if socket is None:
        raise _unreachable(f"no `ringfence run` of this user on this host has the proxy {proxy.node}")
    text = ask(str(socket), _PAGE)
    if not text:
        raise _unreachable(f"no Envoy answers on {socket}")
    # 3. What it says, beside what it was sent.
    sent = [Sent(one.type_url, one.name, one.state, values_of(one)) for one in proxy.resources]
    try:
        found = compared([one for one in sent if one.type_url in KIND_OF], json.loads(text))
    except ValueError:  # Envoy itself cannot write a dump with an extension in it that it does not know
        said = " ".join(text.split())[:_SHOWN]
        raise RingfenceError(
            Kind.INVALID, f"the proxy shows no config dump, but says: {said}", where=str(socket)
        ) from None
    return [{"node": proxy.node, "type": one.kind, "name": one.name, "difference": one.text} for one in found]


def _unreachable(detail: str) -> RingfenceError:
    return RingfenceError(
        Kind.UNAVAILABLE,
        f"the Envoy cannot be reached from here: {detail}",
        hint="Run this on its host as the user who started `ringfence run`, or name its socket with --envoy-admin",
    )
