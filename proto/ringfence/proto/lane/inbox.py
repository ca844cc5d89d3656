"""What a call has received: messages cut from its bytes, one reader, and when the client may send more."""

from __future__ import annotations

import asyncio
from collections import deque

from ringfence.proto.lane.faults import ErrorCode, ProtocolError
from ringfence.proto.lane.framing import PREFIX, Deframer
from ringfence.proto.lane.limits import Limits
from ringfence.proto.status import Code, Status


class Inbox:
    """The request side of one call."""

    __slots__ = ("_deframer", "_messages", "_owed", "_reader", "_unread", "_window", "closed", "ended", "heard", "held")

    def __init__(self, limits: Limits) -> None:
        self._deframer = Deframer(limits.message)
        self._messages: deque[bytes] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._window = limits.stream_window
        self._owed = 0  # received, and the client has no credit back for it
        self._unread = 0  # in whole messages
        self.heard = False  # a whole message, or that there is none
        self.held = 0  # all that is kept here
        self.ended = False  # the client sends no more
        self.closed = False  # nobody reads any more

    def feed(self, data: bytes, flow_size: int) -> None:
        """Take *data*, *flow_size* with its padding; raises Status, or ProtocolError past the window."""
        self._owed += flow_size
        if self._owed > self._window:
            raise ProtocolError("more data than the stream's window", ErrorCode.FLOW_CONTROL_ERROR)
        messages = self._deframer.feed(data)
        self.held += len(data)
        if messages:
            self.heard = True
            self._messages.extend(messages)
            for message in messages:
                self._unread += len(message) + PREFIX
            self._wake()

    def end(self) -> None:
        """The client has half-closed; raises Status if that is within a message."""
        self.ended = self.heard = True
        if len(self._deframer):
            raise Status(Code.INTERNAL, "the request ends within a message")
        self._wake()

    def close(self) -> None:
        """Drop what is unread, and wake the reader."""
        self.closed = True
        self.held = 0
        self._messages.clear()
        self._wake()

    async def read(self) -> bytes | None:
        """The next message, None after the last; raises Status once closed."""
        while not self._messages:
            if self.closed:
                raise Status(Code.CANCELLED, "the call has ended")
            if self.ended:
                return None
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        message = self._messages.popleft()
        self._unread -= len(message) + PREFIX
        self.held -= len(message) + PREFIX
        return message

    def credit_due(self) -> int:
        """What the client may now be given back; 0 while it is not worth saying, or too much lies unread.

        Given as soon as data is here, not when it is read: a message may be larger than the window.
        """
        if self.ended or self._owed < self._window // 2 or self._unread > self._window:
            return 0
        due, self._owed = self._owed, 0
        return due

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
