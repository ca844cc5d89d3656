"""The writing end of a connection: one write a turn of the loop, and who waits for the peer to read."""

from __future__ import annotations

import asyncio

from ringfence.proto.lane.wire import Wire

# Bytes sent within one turn of the loop before they are written without waiting for its end.
_WRITE_NOW = 64 * 1024


class Outflow:
    """What the wire has to say, on its way to the transport."""

    __slots__ = (
        "_due",
        "_loop",
        "_rooms",
        "_starved",
        "_transport",
        "_wire",
        "closing_since",
        "paused",
    )

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._due = False
        self._rooms: dict[int, asyncio.Future[None]] = {}  # by the stream whose sender waits; a call has one at a time
        self._starved = False  # somebody waits for the window of the connection
        self.paused = False
        self.closing_since: float | None = None  # in the loop's time

    @property
    def open(self) -> bool:
        """Whether there is a transport, closing or not."""
        return self._transport is not None

    def begin(self, transport: asyncio.Transport) -> None:
        """Write to *transport* from now on."""
        self._transport = transport
        self.flush()

    def lost(self) -> None:
        """The transport is gone."""
        self._transport = None
        self.announce_room()

    def pause(self) -> None:
        """The peer reads slowly: send no more, and read no more that would have to be answered."""
        self.paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """The peer has caught up."""
        self.paused = False
        if self._transport is not None:
            self._transport.resume_reading()
        self.flush()
        self.announce_room()

    @property
    def waiting(self) -> int:
        """How many senders credit for the connection would wake."""
        return len(self._rooms) if self._starved else 0

    async def wait_for_room(self, stream_id: int) -> None:
        """Until the window of the stream or of the connection, or the socket, has changed."""
        self._starved = self._starved or self._wire.streams.room <= 0
        room = self._rooms[stream_id] = self._loop.create_future()
        try:
            await room
        finally:
            if self._rooms.get(stream_id) is room:
                del self._rooms[stream_id]

    def credit(self, stream_id: int) -> None:
        """The peer takes more on that stream, or with 0 on the connection: wake whom that concerns, and nobody else."""
        if stream_id:
            _wake(self._rooms.get(stream_id))
        elif self._starved:
            self.announce_room()

    def announce_room(self) -> None:
        """Let everybody who waits look again."""
        self._starved = False
        for room in self._rooms.values():
            _wake(room)

    def schedule(self) -> None:
        """Write at the end of this turn of the loop, or now when much has come together."""
        if self._wire.size > _WRITE_NOW:
            self.flush()
        elif not self._due:
            self._due = True
            self._loop.call_soon(self._flush_late)

    def _flush_late(self) -> None:
        self._due = False
        self.flush()

    def flush(self) -> None:
        """Write all there is, at once."""
        data = self._wire.take()
        if self._transport is None or self.closing_since is not None:
            return
        if data:
            self._transport.write(data)

    def close(self) -> None:
        """Write what there is and close."""
        self.flush()
        if self._transport is not None and self.closing_since is None:
            self.closing_since = self._loop.time()
            self._transport.close()

    def abort(self) -> None:
        """Close now, whatever is unwritten."""
        if self._transport is not None:
            self._transport.abort()


def _wake(room: asyncio.Future[None] | None) -> None:
    if room is not None and not room.done():
        room.set_result(None)
