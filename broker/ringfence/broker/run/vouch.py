"""The launch: this process vouches to the agent for its own tree, for as long as the stream to the agent lives."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Self

import grpc.aio

from ringfence.admin.v1 import admin_pb2
from ringfence.broker.run.plan import Launch, Who
from ringfence.broker.run.refusal import refusal
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proto.client import Client
from ringfence.proto.service import service_of
from ringfence.xds.locality import Locality

_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs lack it
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds between attempts to vouch again


class Voucher:
    """Holds the Launch stream to the agent's admin socket and opens it anew when the agent was restarted.

    Used as `async with`; inside, `launch` is what the agent accepted. Raises DENIED when the intent has no launch
    rule for this user, UNAVAILABLE without an agent, TIMEOUT when none answers within *patience* seconds.
    """

    launch: Launch

    def __init__(self, who: Who, socket: str, *, patience: float, say: Callable[[str], None]) -> None:
        self._who = who
        self._address = f"{socket}.admin"
        self._socket = socket
        self._patience = patience
        self._say = say
        self._keeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 2000)]
        self._channel = grpc.aio.insecure_channel(f"unix:{self._address}", options=options)
        try:
            call, answer = await self._open()
        except BaseException:
            await self._channel.close(None)
            raise
        self.launch = Launch(
            answer.server,
            answer.trust_domain,
            answer.workload_socket or self._socket,
            tuple(answer.servers[1:]),
            Locality.parse(answer.region, answer.zone),
            answer.cuts,
            answer.job,
        )
        self._keeper = asyncio.create_task(self._keep(call))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        await self._channel.close(None)

    async def _open(self) -> tuple[Any, Any]:
        """A new stream and its first answer."""
        launcher = Client(self._channel, service_of(admin_pb2, "Launcher"))
        who = self._who
        call = launcher.Launch(admin_pb2.LaunchRequest(namespace=who.namespace, name=who.name, rank=who.rank))
        try:
            async with asyncio.timeout(self._patience):
                answer = await call.read()
        except TimeoutError:
            call.cancel()
            raise RingfenceError(
                Kind.TIMEOUT,
                f"the agent has not let {self._who} start for {self._patience:g} s",
                where=self._address,
                hint=f"It waits for the intent to declare Workload {self._who} with a spec.launch: is it applied?",
            ) from None
        except grpc.aio.AioRpcError as error:
            raise self._refused(error) from None
        if answer is _EOF:
            raise RingfenceError(Kind.UNAVAILABLE, "the agent ended the launch at once", where=self._address)
        return call, answer

    async def _keep(self, call: Any) -> None:
        """Read until the stream ends, then vouch again: without it the tree has no identity to renew."""
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                while await call.read() is not _EOF:
                    pass
            self._say("lost the agent; vouching again as soon as it is back")
            call = await self._open_again()
            self._say("the agent is back")

    async def _open_again(self) -> Any:
        pause, told = _FIRST_PAUSE, ""
        while True:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            try:
                return (await self._open())[0]
            except RingfenceError as error:
                if error.kind is not Kind.UNAVAILABLE and str(error) != told:
                    told = str(error)
                    self._say(told)

    def _refused(self, error: grpc.aio.AioRpcError) -> RingfenceError:
        hints = {
            Kind.UNAVAILABLE: "Is an agent running? Name its socket with --socket or RINGFENCE_SOCKET",
            Kind.DENIED: f"Name this user under spec.launch.by of Workload {self._who}, and apply it",
            Kind.NOT_FOUND: f"Declare Workload {self._who} in the intent, and apply it",
        }
        return refusal(error, f"the agent does not launch {self._who}", where=self._address, hints=hints)
