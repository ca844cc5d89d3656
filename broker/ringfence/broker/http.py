"""Pages over HTTP: those that a daemon shows to probes and Prometheus, and those that strangers verify us by.

h11 speaks HTTP; a web framework would double the time a server needs to start.
"""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import h11

from ringfence.certs.errors import Kind, RingfenceError

_PATIENCE = 10.0  # seconds for a request to arrive whole
_CHUNK = 16 * 1024
_MOST = 512  # connections at a time; one more is closed unheard
JSON, TEXT = "application/json", "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Page:
    """What one request gets."""

    status: int
    body: bytes
    content_type: str = TEXT


Routes = Mapping[str, Callable[[], Page]]


async def serve_pages(
    host: str, port: int, routes: Routes, *, tls: ssl.SSLContext | None = None, flag: str = "--http-listen"
) -> asyncio.Server:
    """Serve *routes* by path; raises UNAVAILABLE, naming *flag*, when the address is taken or not ours."""
    open_now = 0

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now
        open_now += 1
        try:
            async with asyncio.timeout(_PATIENCE if open_now <= _MOST else 0):
                await _answer(reader, writer, routes)
        except (TimeoutError, OSError, h11.ProtocolError):
            pass  # a probe that gave up, or something that speaks no HTTP
        finally:
            open_now -= 1
            writer.close()

    try:
        patience = _PATIENCE if tls else None
        return await asyncio.start_server(on_connection, host, port, ssl=tls, ssl_handshake_timeout=patience)
    except OSError as error:
        raise cannot_listen(f"{host}:{port}", error, flag=flag) from error


def cannot_listen(address: str, error: OSError, *, flag: str) -> RingfenceError:
    """Why nothing listens on *address*, and which flag changes that."""
    # asyncio wraps the system's text in its own; the system's is what people know.
    reason = error.strerror or str(error)
    if error.errno is not None and error.errno > 0:
        reason = os.strerror(error.errno)
    taken = error.errno in {errno.EADDRINUSE, None}
    hint = f"Stop what uses it, or change {flag}" if taken else f"Change {flag}"
    return RingfenceError(Kind.UNAVAILABLE, f"cannot listen: {reason}", where=address, hint=hint)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, routes: Routes) -> None:
    connection = h11.Connection(h11.SERVER)
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Request):
            page = _page(event, routes)
            head = h11.Response(
                status_code=page.status,
                headers=[
                    ("content-type", page.content_type),
                    ("content-length", str(len(page.body))),
                    ("connection", "close"),
                ],
            )
            parts = [head, h11.Data(data=page.body), h11.EndOfMessage()]
            if event.method == b"HEAD":
                del parts[1]
            writer.write(b"".join(connection.send(part) or b"" for part in parts))
            await writer.drain()
            return
        else:
            return


def _page(request: h11.Request, routes: Routes) -> Page:
    route = routes.get(request.target.decode("latin-1").partition("?")[0])
    if route is None:
        return Page(404, b"not found\n")
    if request.method not in {b"GET", b"HEAD"}:
        return Page(405, b"only GET\n")
    return route()
