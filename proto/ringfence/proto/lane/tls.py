"""TLS on a socket of ours: what thousands of connections need for a moment only, they share instead of keeping it.

The ssl module's own transports keep the largest piece of ciphertext that a connection ever saw, and uvloop's a buffer
of 256 KiB besides. Here all connections of a listener read through one buffer, which is empty between two of them.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from typing import Any

from ringfence.proto.lane.inlet import Inlet

_CHUNK = 64 * 1024  # what is sealed and sent at once
# A record holds up to 16 KiB. Ours are smaller: the memory that one was sealed in stays with its connection.
_RECORD, _SEALED = 16 * 1024, 8 * 1024
# For the client's close_notify after ours: it says nothing that GOAWAY has not.
_GOODBYE_SECONDS = 1.0


class TlsTransport(asyncio.Transport):
    """A connection whose handshake is over; *outgoing* is where *tls* puts what it seals, *inlet* where it reads."""

    __slots__ = (
        "_at",
        "_closing",
        "_heard_end",
        "_inlet",
        "_loop",
        "_outgoing",
        "_plain",
        "_protocol",
        "_reading",
        "_sealed",
        "_sock",
        "_tls",
        "_writing",
    )

    def __init__(self, sock: socket.socket, tls: ssl.SSLObject, inlet: Inlet, outgoing: ssl.MemoryBIO) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._tls = tls
        self._inlet = inlet
        self._outgoing = outgoing
        self._protocol: asyncio.Protocol | None = None
        self._plain, self._at = b"", 0  # what was to be written, and from where on it is not sealed yet
        self._sealed: bytes | memoryview = b""  # what the socket did not take
        self._reading = self._writing = False
        self._heard_end = self._closing = False

    def begin(self, protocol: asyncio.Protocol) -> None:
        """Serve *protocol*, from what the inlet holds already."""
        self._protocol = protocol
        self.resume_reading()
        protocol.connection_made(self)
        self._read()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The `ssl_object`; there is nothing else."""
        return self._tls if name == "ssl_object" else default

    # Reading.

    def _on_readable(self) -> None:
        try:
            if not self._inlet.fill(self._sock):
                self._on_end()
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(error)
            return
        self._read()

    def _read(self) -> None:
        """Hand on what the inlet holds; all of it, also when that makes the protocol pause."""
        protocol, pending = self._protocol, self._inlet.bio
        try:
            while pending.pending and protocol is not None and not self._closing:
                data = self._tls.read(_RECORD)
                if not data:  # close_notify: whoever says it may wait for ours before it hangs up
                    self._on_end()
                    break
                protocol.data_received(data)
        except ssl.SSLWantReadError:
            pass  # the rest of the record is still to come
        except ssl.SSLZeroReturnError:
            self._on_end()
        except OSError as error:  # ssl.SSLError is one
            self._lose(error)
        except Exception:
            self.abort()
            raise
        finally:
            self._inlet.clear()
        if self._outgoing.pending:  # TLS answers for itself, as to a new key
            self._put_sealed()

    def _on_end(self) -> None:
        """The peer sends no more: it gets what there is, and the end."""
        self._heard_end = True
        self.pause_reading()
        self.close()

    def pause_reading(self) -> None:
        """Leave what comes to the kernel, which slows the peer down."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._sock.fileno())

    def resume_reading(self) -> None:
        """Read again."""
        if not (self._reading or self._heard_end or self._closing):
            self._reading = True
            self._loop.add_reader(self._sock.fileno(), self._on_readable)

    def is_reading(self) -> bool:
        """Whether what comes is read."""
        return self._reading

    # Writing.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send *data*, or keep what the socket does not take now and have the protocol pause."""
        if self._closing:
            return
        if self._writing:
            self._plain, self._at = self._plain[self._at :] + data, 0
            return
        self._plain, self._at = bytes(data), 0
        self._seal()

    def _seal(self) -> None:
        """Seal and send what waits, until the socket takes no more."""
        while self._at < len(self._plain) and not self._sealed:
            end = min(self._at + _CHUNK, len(self._plain))
            try:
                parts = [self._sealed_part(at, min(at + _SEALED, end)) for at in range(self._at, end, _SEALED)]
            except ssl.SSLError as error:
                self._lose(error)
                return
            self._at = end
            self._put(parts[0] if len(parts) == 1 else b"".join(parts))
        if self._at >= len(self._plain):
            self._plain, self._at = b"", 0

    def _sealed_part(self, start: int, end: int) -> bytes:
        self._tls.write(self._plain[start:end])
        return self._outgoing.read()

    def _put_sealed(self) -> None:
        self._put(bytes(self._sealed) + self._outgoing.read())

    def _put(self, sealed: bytes | memoryview) -> None:
        if self._sock.fileno() < 0:
            return
        try:
            sent = self._sock.send(sealed)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._lose(error)
            return
        self._sealed = memoryview(sealed)[sent:] if sent < len(sealed) else b""
        if self._sealed and not self._writing:
            self._writing = True
            self._loop.add_writer(self._sock.fileno(), self._on_writable)
            if self._protocol is not None:
                self._protocol.pause_writing()

    def _on_writable(self) -> None:
        self._put(self._sealed)
        self._seal()
        if self._sealed or not self._writing:
            return
        self._writing = False
        self._loop.remove_writer(self._sock.fileno())
        if self._closing:
            self._say_goodbye()
        elif self._protocol is not None:
            self._protocol.resume_writing()

    def get_write_buffer_size(self) -> int:
        """Bytes that the socket did not take yet."""
        return len(self._sealed) + len(self._plain) - self._at

    # Leaving.

    def is_closing(self) -> bool:
        """Whether nothing more is taken."""
        return self._closing

    def close(self) -> None:
        """Send what there is and the end, and give the peer a moment to say its own."""
        if self._closing:
            return
        self._closing = True
        if not self._writing:
            self._say_goodbye()

    def _say_goodbye(self) -> None:
        """Say close_notify; what the peer has under way is read and dropped, or the end would not reach it."""
        with suppress(ssl.SSLError):  # it has not said its own yet, or never will
            self._tls.unwrap()
        self._put(self._outgoing.read())
        if self._sealed:
            return  # it is said again, which says nothing more, once this has left
        if self._heard_end or self._sock.fileno() < 0:
            self.abort()
            return
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.abort()
            return
        self._reading = True
        self._loop.add_reader(self._sock.fileno(), self._drop)
        self._loop.call_later(_GOODBYE_SECONDS, self.abort)

    def _drop(self) -> None:
        try:
            if self._inlet.fill(self._sock):
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass
        finally:
            self._inlet.clear()
        self.abort()

    def abort(self) -> None:
        """Close now, whatever is unsent."""
        self._lose(None)

    def _lose(self, error: Exception | None) -> None:
        if self._sock.fileno() < 0:
            return
        self._closing = True
        self.pause_reading()
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        self._plain, self._sealed, self._at = b"", b"", 0
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            self._loop.call_soon(protocol.connection_lost, error)
