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
from ringfence.proto.lane.inflow import OTHER, Inflow, payload_of
from ringfence.proto.lane.limits import DEFAULT_FRAME
from ringfence.proto.lane.opening import open_call
from ringfence.proto.lane.outflow import Outflow
from ringfence.proto.lane.peer import Peer, tls_peer
from ringfence.proto.lane.service import Service
from ringfence.proto.lane.watch import Watch
from ringfence.proto.lane.wire import Wire
from ringfence.proto.status import Status

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
        self.outflow = Outflow(self.wire)
        self.buffered = 0
        self.last_stream = _EVERY_STREAM
        self.watch = Watch(service.limits, self._loop.time())
        self.admission = Admission(service)
        self._inflow = Inflow(DEFAULT_FRAME)

    # What asyncio tells us.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Greet the peer, and let the hook look at it."""
        self.service.connections.add(self)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self.peer = tls_peer(self.peer, tls)
            if tls.selected_alpn_protocol() != "h2":
                transport.abort()
                return
        self.outflow.begin(transport)
        if self.service.draining:
            self.drain()
        self.admission.begin(self)

    def data_received(self, data: bytes) -> None:
        """Take what arrived; a peer that breaks the protocol is told so and left."""
        if self.outflow.closing_since is not None:
            return
        self.watch.heard = self._loop.time()
        try:
            for stream_id, piece in self._inflow.cut(data):
                if stream_id == OTHER:
                    self._on_other(piece)
                else:
                    self._on_data(stream_id, piece)
        except ProtocolError as error:
            self.wire.fail(error)
            self.close()
        if self.wire.waiting:
            self.outflow.schedule()

    def pause_writing(self) -> None:
        """The peer reads slowly."""
        self.outflow.pause()

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self.outflow.resume()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why makes no difference
        """Cancel whatever still runs for the peer."""
        for call in list(self.calls.values()):
            self._drop(call)
        self.outflow.lost()
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

    def _on_data(self, stream_id: int, frame: bytes) -> None:
        size = len(frame) - FRAME_HEAD
        self.wire.received(size)
        call = self.calls.get(stream_id)
        if call is None:
            self.wire.late(stream_id)
        elif call.inbox.ended:
            # It has said that it sends no more (RFC 9113 section 5.1, half-closed).
            self.wire.reset(stream_id, ErrorCodes.STREAM_CLOSED)
            self._drop(call)
        else:
            self._on_request_data(call, stream_id, frame, size)

    def _on_request_data(self, call: Call, stream_id: int, frame: bytes, size: int) -> None:
        if frame[4] & END_STREAM:
            self.wire.ended(stream_id)
            call.feed(payload_of(frame), size)
            if not call.done:
                call.half_close()
        else:
            call.feed(payload_of(frame), size)

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
        self.outflow.announce_room()

    def _on_settings(self, _event: events.RemoteSettingsChanged) -> None:
        self.watch.greeted = True
        self.outflow.announce_room()

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
        if self.closed.done():
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

    # Leaving.

    def tick(self, now: float) -> None:
        """What is due by the clock: a ping, or the end of a peer that is silent or idle too long."""
        closing = self.outflow.closing_since
        if closing is not None:
            # It does not take the last bytes either.
            if now - closing > self.service.limits.hello_seconds:
                self.abort()
            return
        due = self.watch.due(now, idle=not self.tasks)
        if due == "ping":
            self.wire.ping(b"ringping")
            self.outflow.flush()
        elif due == "idle":
            self.wire.goaway()
            self.close()
        elif due == "gone":
            self.abort()

    def drain(self) -> None:
        """Ask the client to open no more calls here; those that are on their way are still served (RFC 9113 6.8)."""
        self.wire.goaway(last=_EVERY_STREAM)
        self.wire.ping(b"ringlast")
        self.outflow.flush()

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
        self.outflow.close()

    def abort(self) -> None:
        """Close now, whatever is unwritten."""
        self.outflow.abort()


_REACTIONS: dict[type[Any], Callable[[Connection, Any], None]] = {
    events.RequestReceived: Connection._on_request,  # noqa: SLF001 - the table is part of the class
    events.StreamEnded: Connection._on_end,  # noqa: SLF001
    events.StreamReset: Connection._on_reset,  # noqa: SLF001
    events.WindowUpdated: Connection._on_room,  # noqa: SLF001
    events.RemoteSettingsChanged: Connection._on_settings,  # noqa: SLF001
    events.PingAckReceived: Connection._on_pong,  # noqa: SLF001
}
