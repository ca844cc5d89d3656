"""One call to a server's admin socket, and its failures in words."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from ringfence.certs.errors import Kind, RingfenceError

T = TypeVar("T")
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


def with_admin(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that find the server; the command gets what they name as `socket`."""

    @functools.wraps(command)
    def wrapped(*args: Any, admin_socket: Path | None, data_dir: Path | None, **kwargs: Any) -> Any:
        return command(*args, socket=find_socket(admin_socket, data_dir), **kwargs)

    found: Callable[..., Any] = _SOCKET(_DATA_DIR(wrapped))
    return found


def find_socket(admin_socket: Path | None, data_dir: Path | None) -> Path:
    """The admin socket that the options or the environment name; raises INVALID when nothing does."""
    if admin_socket is not None:
        return admin_socket
    if data_dir is not None:
        return data_dir / SOCKET_NAME
    raise click.UsageError(
        "No server is named: give --admin-socket or --data-dir, or set RINGFENCE_ADMIN_SOCKET or RINGFENCE_DATA_DIR"
    )


@asynccontextmanager
async def admin_client(socket: Path) -> AsyncIterator[Any]:
    """A client of the service Server on *socket*; what a call raises is our own error."""
    import grpc.aio

    from ringfence.admin.v1 import admin_pb2
    from ringfence.broker.status import error_of
    from ringfence.proto.client import Client
    from ringfence.proto.service import service_of

    address = _address(socket)
    options = (("grpc.max_receive_message_length", MAX_MESSAGE), ("grpc.enable_retries", 0))
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        try:
            yield Client(channel, service_of(admin_pb2, "Server"))
        except grpc.aio.AioRpcError as failure:
            raise error_of(failure, where=str(socket)) from None


def ask(socket: Path, call: Callable[[Any], Awaitable[T]]) -> T:
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
