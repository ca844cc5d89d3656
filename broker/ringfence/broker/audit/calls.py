"""Records every admin call that changes something, before it begins and before it is answered; and every denied one."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, cast

from ringfence.broker.audit.actor import acting, present_actor
from ringfence.broker.audit.journal import AuditLog
from ringfence.broker.audit.record import OK, Event
from ringfence.broker.audit.say import asked, done, is_dry_run
from ringfence.broker.audit.transaction import record
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proto.lane import Call, Connection, Handler, Method
from ringfence.proto.lane.peer import Peer
from ringfence.proto.status import Code, Status

BEGUN, DENIED, FAILED, ABANDONED = "begun", "denied", "failed", "abandoned"
# What only looks. Any other method is recorded, also one that nobody has thought of here.
_READS = ("Info", "List", "Show", "Check", "Explain", "Tail", "Count", "Get", "Describe", "Watch")

OnConnect = Callable[[Connection], Awaitable[None] | None]


def audited(methods: Mapping[str, Method], audit: AuditLog) -> dict[str, Method]:
    """*methods*, each recorded in *audit*; a record that cannot be written refuses the call."""
    return {path: replace(method, handler=_recorded(path, method.handler, audit)) for path, method in methods.items()}


def audited_connections(hook: OnConnect, audit: AuditLog) -> OnConnect:
    """The lane's `on_connect` hook, with a record of everyone whom it does not let in."""

    async def admit(connection: Connection) -> None:
        try:
            waiting = hook(connection)
            if inspect.isawaitable(waiting):
                await waiting
        except (Status, RingfenceError) as error:
            await record(audit, Event("admin.connect", "", f"{DENIED}: {_why(error)}", actor=caller(connection.peer)))
            raise

    return admit


def caller(peer: Peer) -> str:
    """Who calls, as the kernel or TLS vouches for it."""
    if peer.uid is not None:
        return f"uid:{peer.uid} pid:{peer.pid}"
    if peer.certificate is not None:
        from ringfence.certs.svid import spiffe_id_of

        try:
            return str(spiffe_id_of(peer.certificate))
        except RingfenceError:
            return f"{peer.address} with a certificate that is no SVID"
    return peer.address


class _Listening:
    """A call that is recorded when a request is read and again before an answer is sent."""

    def __init__(self, call: Call, method: str, audit: AuditLog) -> None:
        self._call = call
        self._method = method
        self._audit = audit
        self._tried = False  # a dry run says so in its first message
        self.event: Event | None = None
        self.answered = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    async def receive(self) -> Any:
        """The next request, once it is recorded that it begins."""
        message = await self._call.receive()
        if message is not None and not self._tried:
            self._tried = is_dry_run(message)
            if not self._tried:
                self.event = asked(self._method, message)
                await record(self._audit, replace(self.event, result=BEGUN))
        return message

    async def send(self, message: Any) -> None:
        """Send an answer, once it is recorded what was done."""
        if self.event is not None:
            await record(self._audit, done(self._method, self.event, message))
            self.answered = True
        await self._call.send(message)


def _recorded(path: str, handler: Handler, audit: AuditLog) -> Handler:
    method = path.rpartition("/")[2]
    reads = method.startswith(_READS)

    async def recorded(call: Call) -> None:
        with acting(present_actor() or caller(call.peer)):
            heard = None if reads else _Listening(call, method, audit)
            try:
                await handler(call if heard is None else cast("Call", heard))
            except Exception as error:
                await _ended(audit, method, heard, error)
                raise
            except asyncio.CancelledError:
                # The caller left, or the server ends: what was begun may have been done all the same.
                if heard is not None and heard.event is not None and not heard.answered:
                    await record(audit, replace(heard.event, result=ABANDONED))
                raise
            if heard is not None and heard.event is not None and not heard.answered:
                await record(audit, replace(heard.event, result=OK))

    return recorded


async def _ended(audit: AuditLog, method: str, heard: _Listening | None, error: Exception) -> None:
    event = heard.event if heard is not None else None
    if _is_denial(error):
        await record(audit, replace(event or Event(f"admin.{method}", ""), result=f"{DENIED}: {_why(error)}"))
    elif event is not None:
        await record(audit, replace(event, result=f"{FAILED}: {_why(error)}"))


def _is_denial(error: Exception) -> bool:
    if isinstance(error, Status):
        return error.code in {Code.PERMISSION_DENIED, Code.UNAUTHENTICATED}
    return isinstance(error, RingfenceError) and error.kind in {Kind.DENIED, Kind.UNAUTHENTICATED}


def _why(error: Exception) -> str:
    if isinstance(error, Status):
        return error.message[:256]
    # What we did not foresee may say anything: its name only.
    return error.detail[:256] if isinstance(error, RingfenceError) else type(error).__name__
