"""One connection on asyncio: bytes to calls, calls to bytes, one write a turn of the loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, cast

from h2 import events
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from ringfence.proto.lane.admission import Admission
from ringfence.proto.lane.call import Call
from ringfence.proto.lane.ending import Ending
from ringfence.proto.lane.framing import END_STREAM, FRAME_HEAD
from ringfence.proto.lane.inflow import Inflow, payload_of
from ringfence.proto.lane.limits import DEFAULT_FRAME
from ringfence.proto.lane.opening import open_call
from ringfence.proto.lane.peer import Peer, tls_peer
from ringfence.proto.lane.service import Service
from ringfence.proto.lane.watch import Watch
from ringfence.proto.lane.wire import Wire
from ringfence.proto.status import Status

# Bytes sent within one turn of the loop before they are written without waiting for its end.
_WRITE_NOW = 64 * 1024
_EVERY_STREAM = 2**31 - 1


class Connection(asyncio.Protocol):
    """A peer's connection; handlers keep what they know of it in `context`, and learn its end from `closed`."""

    def __init__(self, service: Service, peer: Peer) -> None:
        self._loop = asyncio.get_running_loop()
        self.service = service
        self.peer = peer
        self.context: dict[Any, Any] = {}
        self.closed = Ending()
        self.calls: dict[int, Call] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.wire = Wire(service.limits)
        self.paused = False
        self.buffered = 0
        self.last_stream = _EVERY_STREAM
        self.watch = Watch(service.limits, self._loop.time())
        self._transport: asyncio.Transport | None = None
        self._closing_since: float | None = None
        self._flush_due = False
        self._rooms: set[asyncio.Future[None]] = set()
        self.admission = Admission(service)
        self._inflow = Inflow(DEFAULT_FRAME)

    # What asyncio tells us.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the peer, and let the hook look at it."""
        self._transport = cast("asyncio.Transport", transport)
        self.service.connections.add(self)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self.peer = tls_peer(self.peer.address, tls)
            if tls.selected_alpn_protocol() != "h2":
                self._transport.abort()
                return
        self.flush()
        if self.service.draining:
            self.drain()
        self.admission.begin(self)

    def data_received(self, data: bytes) -> None:
        """Take what arrived; a peer that breaks the protocol is told so and left."""
        if self._closing_since is not None:
            return
        self.watch.heard = self._loop.time()
        try:
            for stream_id, piece in self._inflow.cut(data):
                call = self.calls.get(stream_id)
                if call is None or call.inbox.ended:
                    self._on_other(piece)
                else:
                    self._on_data(call, stream_id, piece)
        except ProtocolError as error:
            self.wire.fail(error)
            self.close()
        if self.wire.waiting:
            self.schedule_flush()

    def pause_writing(self) -> None:
        """The peer reads slowly: send no more, and read no more that would have to be answered."""
        self.paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self.paused = False
        if self._transport is not None:
            self._transport.resume_reading()
        self._announce_room()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why makes no difference
        """Cancel whatever still runs for the peer."""
        self._transport = None
        for call in list(self.calls.values()):
            self._drop(call)
        self._announce_room()
        self.admission.cancel()
        self.closed.set()
        self._let_go()

    # What the wire tells us.

    def _on_request(self, event: events.RequestReceived) -> None:
        open_call(self, event.stream_id, event.headers)

    def _on_other(self, data: bytes) -> None:
        for event in self.wire.receive(data):
            react = _REACTIONS.get(type(event))
            if react is not None:
                react(self, event)

    def _on_data(self, call: Call, stream_id: int, frame: bytes) -> None:
        end = bool(frame[4] & END_STREAM)
        size = len(frame) - FRAME_HEAD
        self.wire.received(stream_id, size, end=end)
        call.feed(payload_of(frame), size)
        if end and not call.done:
            call.half_close()

    def _on_end(self, event: events.StreamEnded) -> None:
        call = self.calls.get(event.stream_id)
        if call is not None:
            call.half_close()

    def _on_reset(self, event: events.StreamReset) -> None:
        call = self.calls.get(event.stream_id)
        if call is not None:
            self._drop(call)
        if not self.watch.allows_reset(self.watch.heard):
            self.wire.goaway(ErrorCodes.ENHANCE_YOUR_CALM, reason=b"too many resets")
            self.close()

    def _on_room(self, _event: Any) -> None:
        self._announce_room()

    def _on_settings(self, _event: events.RemoteSettingsChanged) -> None:
        self.watch.greeted = True
        self._announce_room()

    def _on_pong(self, _event: events.PingAckReceived) -> None:
        self.watch.pinged = None
        if self.service.draining:
            self._say_last()

    def _drop(self, call: Call) -> None:
        call.leave()
        if call.task is not None:
            call.task.cancel()

    # What calls ask for.

    def start(self, call: Call, timeout: float | None, stream_id: int) -> None:
        """Run *call*, and keep its task until it is over: a reset frees the stream, not the work."""
        self.calls[stream_id] = call
        call.begin(timeout)
        task = cast("asyncio.Task[None]", call.task)
        self.tasks.add(task)
        task.add_done_callback(self._task_over)

    def _task_over(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if self._transport is None:
            self._let_go()

    def _let_go(self) -> None:
        # Not before the last handler is through: a closed number may be another file at once.
        if self.tasks or self not in self.service.connections:
            return
        self.service.discard(self)
        if self.peer.pidfd is not None:
            os.close(self.peer.pidfd)

    def forget(self, stream_id: int, call: Call) -> None:
        """*call* has ended."""
        if self.calls.get(stream_id) is call:
            del self.calls[stream_id]
        self.watch.busy = self._loop.time()
        if self.service.draining and not self.calls and self.last_stream != _EVERY_STREAM:
            self.close()

    async def wait_for_room(self) -> None:
        """Until the peer's window or the socket has changed."""
        room = self._loop.create_future()
        self._rooms.add(room)
        try:
            await room
        finally:
            self._rooms.discard(room)

    def _announce_room(self) -> None:
        for room in self._rooms:
            if not room.done():
                room.set_result(None)

    def schedule_flush(self) -> None:
        """Write at the end of this turn of the loop, or now when much has come together."""
        if self.wire.size > _WRITE_NOW:
            self.flush()
        elif not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush_late)

    def _flush_late(self) -> None:
        self._flush_due = False
        self.flush()

    def flush(self) -> None:
        """Write all there is, at once."""
        data = self.wire.take()
        if data and self._transport is not None and self._closing_since is None:
            self._transport.write(data)

    # Leaving.

    def tick(self, now: float) -> None:
        """What is due by the clock: a ping, or the end of a peer that is silent or idle too long."""
        if self._closing_since is not None:
            # It does not take the last bytes either.
            if now - self._closing_since > self.service.limits.hello_seconds:
                self.abort()
            return
        due = self.watch.due(now, idle=not self.tasks)
        if due == "ping":
            self.wire.ping(b"ringping")
            self.flush()
        elif due == "idle":
            self.wire.goaway()
            self.close()
        elif due == "gone":
            self.abort()

    def drain(self) -> None:
        """Ask the client to open no more calls here; those that are on their way are still served (RFC 9113 6.8)."""
        self.wire.goaway(last=_EVERY_STREAM)
        self.wire.ping(b"ringlast")
        self.flush()

    def _say_last(self) -> None:
        self.last_stream = self.wire.h2.highest_inbound_stream_id
        self.wire.goaway()
        if not self.calls:
            self.close()

    def cut(self, status: Status) -> None:
        """End every call with *status* and close."""
        for call in list(self.calls.values()):
            call.cut(status)
        self.wire.goaway()
        self.close()

    def close(self) -> None:
        """Write what there is and close; calls that are still open are cancelled."""
        self.flush()
        if self._transport is not None and self._closing_since is None:
            self._closing_since = self._loop.time()
            self._transport.close()

    def abort(self) -> None:
        """Close now, whatever is unwritten."""
        if self._transport is not None:
            self._transport.abort()


_REACTIONS: dict[type[Any], Callable[[Connection, Any], None]] = {
    events.RequestReceived: Connection._on_request,  # noqa: SLF001 - the table is part of the class
    events.StreamEnded: Connection._on_end,  # noqa: SLF001
    events.StreamReset: Connection._on_reset,  # noqa: SLF001
    events.WindowUpdated: Connection._on_room,  # noqa: SLF001
    events.RemoteSettingsChanged: Connection._on_settings,  # noqa: SLF001
    events.PingAckReceived: Connection._on_pong,  # noqa: SLF001
}
