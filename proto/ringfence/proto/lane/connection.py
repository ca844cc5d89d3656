"""One connection on asyncio: bytes to calls, calls to bytes, one write a turn of the loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, cast

from ringfence.proto.lane.admission import Admission
from ringfence.proto.lane.call import Call
from ringfence.proto.lane.chatter import cost
from ringfence.proto.lane.ending import Ending
from ringfence.proto.lane.faults import ErrorCode, ProtocolError, StreamError
from ringfence.proto.lane.framing import DATA, END_STREAM
from ringfence.proto.lane.inflow import Inflow
from ringfence.proto.lane.limits import DEFAULT_FRAME
from ringfence.proto.lane.opening import open_call
from ringfence.proto.lane.outflow import Outflow
from ringfence.proto.lane.peer import Peer, tls_peer
from ringfence.proto.lane.peer_process import PeerProcess
from ringfence.proto.lane.reader import Reader
from ringfence.proto.lane.request import Request
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
        self._process = PeerProcess(peer.pidfd)
        self.watch = Watch(service.limits, self._loop.time())
        self.admission = Admission(service)
        self._inflow = Inflow(DEFAULT_FRAME)
        self._reader = Reader(self.wire, self, service.limits)

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
            for kind, flags, stream_id, payload in self._inflow.cut(data):
                self._take(kind, flags, stream_id, payload)
        except ProtocolError as fault:
            self.wire.goaway(fault.code, reason=str(fault).encode())
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
        self._process.forget()
        for call in list(self.calls.values()):
            self._drop(call)
        self.outflow.lost()
        self.admission.cancel()
        self.closed.set()
        self._let_go()

    # What the peer says.

    def _take(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        spent = cost(kind, flags, payload, len(self.calls), self.outflow.waiting)
        if spent and not self.watch.chatter.take(self.watch.heard, spent):
            raise ProtocolError("too much that carries nothing", ErrorCode.ENHANCE_YOUR_CALM)
        try:
            if kind == DATA and not self._reader.in_block:
                self._on_data(flags, stream_id, payload)
            else:
                self._reader.read(kind, flags, stream_id, payload)
        except StreamError as fault:
            self.wire.reset(stream_id, fault.code)
            if (call := self.calls.get(stream_id)) is not None:
                self._drop(call)
            self._count_reset()  # it made us do it (CVE-2025-8671)

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        content = self.wire.content(flags, stream_id, payload)
        call = self.calls.get(stream_id)
        if call is not None and content is not None:
            call.feed(content, len(payload))
            if flags & END_STREAM and not call.done:
                call.half_close()

    def on_request(self, stream_id: int, request: Request) -> None:
        """A call, or what is none."""
        open_call(self, stream_id, request)

    def on_end(self, stream_id: int) -> None:
        """A request without more messages."""
        if (call := self.calls.get(stream_id)) is not None:
            call.half_close()

    def on_reset(self, stream_id: int) -> None:
        """The caller left."""
        if (call := self.calls.get(stream_id)) is not None:
            self._drop(call)
        self._count_reset()

    def _count_reset(self) -> None:
        if not self.watch.resets.take(self.watch.heard):
            raise ProtocolError("too many resets", ErrorCode.ENHANCE_YOUR_CALM)

    def on_room(self, stream_id: int) -> None:
        """There may be room for what waits."""
        self.outflow.credit(stream_id)

    def on_settings(self) -> None:
        """The peer is there, and its windows may have changed."""
        self.watch.greeted = True
        self.outflow.announce_room()

    def on_pong(self) -> None:
        """The peer lives, and while we drain it knows."""
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

    def when_peer_ends(self, react: Callable[[], None]) -> None:
        """Call *react* when the peer's process ends before its connection does; nothing without a pidfd. Once."""
        if not self.closed.done():
            self._process.when_it_ends(react)

    def _task_over(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if self.closed.done():
            self._let_go()

    def _let_go(self) -> None:
        # Not before the last handler is through: a closed number may be another file at once.
        if self.tasks or self not in self.service.connections:
            return
        self.service.discard(self)
        self._reader.leave()
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
        # Those that said what they want are nearly all, every second, of thousands of connections: they are not called.
        for call in [call for call in self.calls.values() if not call.inbox.heard]:
            call.tick(now)
        due = self.watch.due(now, idle=not self.tasks, known=self.peer.is_known)
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
        self.last_stream = self.wire.streams.highest
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
