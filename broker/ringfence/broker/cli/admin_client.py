"""One call to a server's admin API, on its socket or its address, and its failures in words."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from ringfence.broker.cli.remote import OPTIONS, Remote
from ringfence.certs.errors import Kind, RingfenceError

T = TypeVar("T")
Where = Path | Remote  # an admin socket, or a server elsewhere
SOCKET_NAME = "admin.sock"
MAX_MESSAGE = 64 << 20  # bytes: a list of 100,000 entries fits

_SOCKET = click.option(
    "--admin-socket",
    type=click.Path(readable=False, path_type=Path),
    envvar="RINGFENCE_ADMIN_SOCKET",
    help="Admin socket of the server.  [default: DATA_DIR/admin.sock]",
)
_DATA_DIR = click.option(
    "--data-dir",
    type=click.Path(readable=False, path_type=Path),
    envvar="RINGFENCE_DATA_DIR",
    help="Data directory of the server, to find its admin socket.",
)


dry_run_option: Callable[[Any], Any] = click.option(
    "--dry-run", is_flag=True, help="Say what would change, and whether you may, and change nothing."
)
_NETWORK = (
    click.option("--server", envvar="RINGFENCE_ADMIN_SERVER", help="HOST:PORT of a server's --listen, instead."),
    click.option(
        "--workload-socket",
        default="",
        envvar=["RINGFENCE_SOCKET", "SPIFFE_ENDPOINT_SOCKET"],
        help="Workload API whose SVID to show to --server.",
    ),
    click.option(
        "--svid-dir",
        type=click.Path(readable=False, path_type=Path),
        envvar="RINGFENCE_SVID_DIR",
        help="Folder of svid.pem, key.pem and bundle.pem to use with --server, instead.",
    ),
    click.option(
        "--token-file",
        type=click.Path(readable=False, path_type=Path),
        envvar="RINGFENCE_TOKEN_FILE",
        help="OIDC token to show to --server, instead.",
    ),
    click.option(
        "--server-bundle",
        type=click.Path(readable=False, path_type=Path),
        envvar="RINGFENCE_SERVER_BUNDLE",
        help="Trust bundle, PEM, to know --server by; for --token-file.",
    ),
)
_FINDERS = ("server", "workload_socket", "svid_dir", "token_file", "server_bundle", "admin_socket", "data_dir")


def with_finders(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that find the server; `find_server` makes one of what they say."""
    for option in (*reversed(_NETWORK), _DATA_DIR, _SOCKET):
        command = option(command)
    return command


def with_admin(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same for a command that always asks: it gets the server as `socket`."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return command(*args, socket=find_server({name: kwargs.pop(name) for name in _FINDERS}), **kwargs)

    return with_finders(wrapped)


def find_server(given: Mapping[str, Any]) -> Where:
    """The server that the options or the environment name: by its address, if that is given."""
    if not given["server"]:
        return find_socket(given["admin_socket"], given["data_dir"])
    return Remote(
        given["server"], given["workload_socket"], given["svid_dir"], given["token_file"], given["server_bundle"]
    )


def find_socket(admin_socket: Path | None, data_dir: Path | None) -> Path:
    """The admin socket that the options or the environment name; raises INVALID when nothing does."""
    if admin_socket is not None:
        return admin_socket
    if data_dir is not None:
        return data_dir / SOCKET_NAME
    raise click.UsageError(
        "No server is named: give --admin-socket or --data-dir, or set RINGFENCE_ADMIN_SOCKET or RINGFENCE_DATA_DIR;"
        " from elsewhere give --server"
    )


@asynccontextmanager
async def admin_client(socket: Where) -> AsyncIterator[Any]:
    """A client of the service Server at *socket*; what a call raises is our own error."""
    import grpc.aio

    from ringfence.admin.v1 import admin_pb2
    from ringfence.broker.status import error_of
    from ringfence.proto.client import Client
    from ringfence.proto.service import service_of

    options = (("grpc.max_receive_message_length", MAX_MESSAGE), ("grpc.enable_retries", 0))
    if isinstance(socket, Remote):
        channel = grpc.aio.secure_channel(socket.address, await socket.credentials(), options=(*options, *OPTIONS))
    else:
        channel = grpc.aio.insecure_channel(await asyncio.to_thread(_address, socket), options=options)
    async with channel:
        try:
            yield Client(channel, service_of(admin_pb2, "Server"))
        except grpc.aio.AioRpcError as failure:
            raise error_of(failure, where=str(socket)) from None


def ask(socket: Where, call: Callable[[Any], Awaitable[T]]) -> T:
    """The answer to *call*, which is given the client."""

    async def run() -> T:
        async with admin_client(socket) as client:
            return await call(client)

    return asyncio.run(run())


def _address(socket: Path) -> str:
    try:
        socket.lstat()
    except PermissionError:
        pass
    except OSError:
        raise RingfenceError(
            Kind.UNAVAILABLE, "no server listens here", where=str(socket), hint="Start `ringfence server run`"
        ) from None
    if not os.access(socket, os.R_OK | os.W_OK):
        raise RingfenceError(
            Kind.DENIED, "this socket is not for you", where=str(socket), hint="Be the server's own user, or root"
        )
    return f"unix:{socket.absolute()}"
