"""One call: what its handler reads, sends and knows, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ringfence.proto.lane import headers as wire_headers
from ringfence.proto.lane.faults import ErrorCode
from ringfence.proto.lane.framing import PREFIX, Framed, frame
from ringfence.proto.lane.inbox import Inbox
from ringfence.proto.status import Code, Status

if TYPE_CHECKING:
    from ringfence.proto.lane.connection import Connection
    from ringfence.proto.lane.peer import Peer
    from ringfence.proto.lane.request import Request
    from ringfence.proto.lane.service import Method

_OK = Status(Code.OK)
# The most that one write of a long message takes, so that a slow reader is noticed in between.
_PIECE = 64 * 1024


class Call:
    """A call as its handler sees it. The handler's return is OK; it raises Status for any other end."""

    def __init__(self, connection: Connection, stream_id: int, request: Request, served: Method) -> None:
        self.connection = connection
        self.method = request.path
        self.deadline: float | None = None  # in the loop's time
        self.initial_metadata: dict[str, str | bytes] = {}
        self.trailing_metadata: dict[str, str | bytes] = {}
        self.done = False
        self.begun = asyncio.get_running_loop().time()
        self.task: asyncio.Task[None] | None = None
        self.inbox = Inbox(connection.service.limits)
        self._stream_id = stream_id
        self._served = served
        self._headers = request.fields
        self._metadata: dict[str, tuple[str, ...]] | None = None
        self._started = False
        self._turn: asyncio.Lock | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def peer(self) -> Peer:
        """Who called."""
        return self.connection.peer

    @property
    def metadata(self) -> Mapping[str, tuple[str, ...]]:
        """The caller's metadata; `-bin` keys as base64 text, see `binary`."""
        if self._metadata is None:
            self._metadata = wire_headers.metadata_of(self._headers)
        return self._metadata

    def binary(self, name: str) -> tuple[bytes, ...]:
        """The values of the `-bin` key *name*; raises Status INTERNAL when they are no base64."""
        return wire_headers.binary_values(self.metadata.get(name, ()))

    async def receive(self) -> Any:
        """The next message, parsed; None once the client has half-closed. Raises Status."""
        inbox = self.inbox
        message = await inbox.read()
        if message is None:
            return None
        self.connection.buffered -= len(message) + PREFIX
        self._credit()
        return self._parse(message)

    def _parse(self, message: bytes) -> Any:
        try:
            return self._served.parse(message)
        except Exception:  # noqa: BLE001 - whatever the parser raises, the caller sent it
            raise Status(Code.INTERNAL, f"the request of {self.method} does not parse") from None

    def try_send(self, message: Any) -> bool:
        """Send *message* if that needs no waiting: False when the peer's window or the socket has no room for all."""
        framed = message if type(message) is Framed else _framed(message)
        connection = self.connection
        if self.done or connection.outflow.paused or (self._turn is not None and self._turn.locked()):
            return False
        if connection.wire.room(self._stream_id) < len(framed.data):
            return False
        if not self._started:
            self._start()
        connection.wire.framed(self._stream_id, framed)
        connection.outflow.schedule()
        return True

    async def send(self, message: Any) -> None:
        """Send *message* (protobuf, its bytes or Framed), waiting for the reader; Status CANCELLED once it left."""
        framed = message if type(message) is Framed else _framed(message)
        if self.try_send(framed):
            return
        self._turn = self._turn or asyncio.Lock()
        async with self._turn:
            try:
                async with asyncio.timeout(self.connection.service.limits.send_seconds):
                    await self._send_slowly(memoryview(framed.data))
            except TimeoutError:
                raise self._left_behind() from None

    async def _send_slowly(self, rest: memoryview) -> None:
        wire, outflow = self.connection.wire, self.connection.outflow
        while rest:
            if self.done:
                raise Status(Code.CANCELLED, "the call has ended")
            size = min(len(rest), _PIECE, 0 if outflow.paused else wire.room(self._stream_id))
            if not size:
                await outflow.wait_for_room(self._stream_id)
                continue
            if not self._started:
                self._start()
            wire.piece(self._stream_id, rest[:size])
            outflow.flush()
            rest = rest[size:]

    def _left_behind(self) -> Status:
        """End the call of a peer that does not take what it is sent, from within its handler or beside it."""
        status = Status(Code.UNAVAILABLE, "the client reads too slowly; call again for what is new")
        self.finish(status)
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()
        return status

    def _start(self) -> None:
        self._started = True
        wire = self.connection.wire
        if self.initial_metadata:
            extra = wire_headers.encode_metadata(self.initial_metadata)
            wire.headers(self._stream_id, wire_headers.RESPONSE + extra, end=False)
        else:
            wire.block(self._stream_id, wire_headers.RESPONSE_BLOCK, end=False)

    # What the connection tells the call.

    def begin(self, timeout: float | None) -> None:
        """Run the handler, with *timeout* seconds to its deadline."""
        loop = asyncio.get_running_loop()
        if timeout is not None:
            self.deadline = loop.time() + timeout
            self._timer = loop.call_at(self.deadline, self._expire)
        self.task = loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            await self._serve()
        except asyncio.CancelledError:
            self.finish(Status(Code.UNAVAILABLE, "the server cut this call short"))
            raise
        except Status as status:
            self.finish(status)
        except Exception as error:  # noqa: BLE001 - the hook names it; the caller must get an end
            self.finish(self.connection.service.on_error(error))
        else:
            self.finish(_OK)
        finally:
            # A task that was cancelled keeps the exception, and that by its frames us: a ring that only the garbage
            # collector would find.
            self.task = None

    async def _serve(self) -> None:
        if self.connection.service.on_connect is not None:
            await self.connection.admission.passed(self.method)
        await self._served.handler(self)

    def tick(self, now: float) -> None:
        """End a call that is held open and has not said what it wants (inbox.heard); *now* in the loop's time."""
        if now - self.begun > self.connection.service.limits.request_seconds:
            self.cut(Status(Code.DEADLINE_EXCEEDED, "the request did not arrive in time"))

    def _expire(self) -> None:
        self.cut(Status(Code.DEADLINE_EXCEEDED, "the deadline passed"))

    def feed(self, data: bytes, flow_size: int) -> None:
        """Take *data* of the request; *flow_size* with its padding. Raises ProtocolError."""
        try:
            self.inbox.feed(data, flow_size)
        except Status as status:
            self.cut(status)
            return
        self.connection.buffered += len(data)
        if self.connection.buffered > self.connection.service.limits.buffered:
            self.cut(Status(Code.RESOURCE_EXHAUSTED, "too much of this connection lies unread"))
            return
        self._credit()

    def half_close(self) -> None:
        """The client sends no more."""
        try:
            self.inbox.end()
        except Status as status:
            self.cut(status)

    def _credit(self) -> None:
        due = self.inbox.credit_due()
        if due and not self.done:
            self.connection.wire.credit(self._stream_id, due)
            self.connection.outflow.schedule()

    # How it ends.

    def cut(self, status: Status) -> None:
        """End the call with *status* from outside its handler, which is cancelled."""
        self.finish(status)
        if self.task is not None:
            self.task.cancel()

    def finish(self, status: Status) -> None:
        """Send the end; the first one counts."""
        if self.done:
            return
        wire = self.connection.wire
        if status.code is Code.OK and self._started and not self.trailing_metadata and not status.trailers:
            wire.block(self._stream_id, wire_headers.OK_TRAILERS_BLOCK, end=True)
        else:
            wire.headers(self._stream_id, self._last_headers(status), end=True)
        if not self.inbox.ended:
            # The response is whole: the client need not send the rest (RFC 9113 section 8.1).
            wire.reset(self._stream_id, ErrorCode.NO_ERROR)
        self.leave()
        self.connection.outflow.schedule()

    def _last_headers(self, status: Status) -> wire_headers.HeaderList:
        try:
            trailers = wire_headers.trailers_of(status, self.trailing_metadata)
            extra = [] if self._started else wire_headers.encode_metadata(self.initial_metadata)
        except ValueError as error:
            trailers = wire_headers.trailers_of(self.connection.service.on_error(error), {})
            extra = []
        return trailers if self._started else wire_headers.RESPONSE + extra + trailers

    def leave(self) -> None:
        """Forget the stream: it has ended, or the client has gone."""
        self.done = True
        if self._timer is not None:
            self._timer.cancel()
        self.connection.buffered -= self.inbox.held
        self.inbox.close()
        self.connection.forget(self._stream_id, self)


def _framed(message: Any) -> Framed:
    return message if isinstance(message, Framed) else frame(_bytes(message))


def _bytes(message: Any) -> bytes:
    if isinstance(message, bytes):
        return message
    serialised: bytes = message.SerializeToString()
    return serialised
