"""A server that is reached by its --listen address: how it is known, and what is shown to it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SERVER_NAME

if TYPE_CHECKING:
    import grpc

CERTIFICATE, KEY, BUNDLE = "svid.pem", "key.pem", "bundle.pem"  # as `ringfence svid write --dir` names them
_PATIENCE = 10.0  # seconds for an SVID
# The name that certifies the control plane and nobody else, whatever address it is reached by.
OPTIONS = (("grpc.ssl_target_name_override", SERVER_NAME), ("grpc.default_authority", SERVER_NAME))


@dataclass(frozen=True, slots=True)
class Remote:
    """Where it is; an SVID by `agent` (a Workload API socket) or in `folder`; or a token in a file, with a bundle."""

    address: str
    agent: str = ""
    folder: Path | None = None
    token: Path | None = None
    bundle: Path | None = None

    def __str__(self) -> str:
        return self.address

    async def credentials(self) -> grpc.ChannelCredentials:
        """TLS that knows the server by its bundle, with exactly one proof of who we are; raises INVALID."""
        import grpc

        # 1. A token, over TLS to a server that the bundle vouches for: nobody else gets to see it.
        if self.token is not None:
            if self.bundle is None:
                raise _invalid("--token-file needs --server-bundle, which says whom the token may be shown to")
            roots, token = await asyncio.to_thread(_read_all, self.bundle, self.token)
            shown = grpc.access_token_call_credentials(token.decode("ascii", "replace").strip())
            return grpc.composite_channel_credentials(grpc.ssl_channel_credentials(roots), shown)
        # 2. An SVID in files.
        if self.folder is not None:
            files = (self.folder / name for name in (CERTIFICATE, KEY, BUNDLE))
            chain, key, roots = await asyncio.to_thread(_read_all, *files)
            return grpc.ssl_channel_credentials(roots, key, chain)
        # 3. This process's own SVID.
        if self.agent:
            from ringfence.broker.agent.fetching import fetch_x509

            svid = (await fetch_x509(self.agent, _PATIENCE))[0]
            return grpc.ssl_channel_credentials(svid.bundle.encode(), svid.key.encode(), svid.chain.encode())
        # 4. Without a proof there is no sense in asking.
        raise _invalid("--server needs an identity to show: --workload-socket, --svid-dir or --token-file")


def _read_all(*paths: Path) -> list[bytes]:
    return [_read(path) for path in paths]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RingfenceError(Kind.INVALID, f"cannot be read: {error.strerror}", where=str(path)) from error


def _invalid(detail: str) -> RingfenceError:
    return RingfenceError(Kind.INVALID, detail, hint="See docs/access.md")
