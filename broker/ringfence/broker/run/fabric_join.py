"""A run's place in a job on a fabric: held by a stream to the agent, which ends with the run or is taken away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, Self

import grpc.aio

from ringfence.admin.v1 import admin_pb2
from ringfence.broker.run.refusal import refusal
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proto.client import Client
from ringfence.proto.service import service_of

_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs lack it
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds between attempts to join again
_TO_SAY_WHY = 5.0  # seconds more: an agent whose patience is as long as ours knows the reason, and says it at its end
# How a stream ends whose agent goes; every other end is its answer.
_AWAY = frozenset({Kind.UNAVAILABLE, Kind.TIMEOUT})


@dataclass(frozen=True, slots=True)
class Place:
    """What is asked for: a job on a fabric, and TCP ports of this node that loopback alone may reach meanwhile."""

    fabric: str  # NAMESPACE/NAME
    job: str  # NAMESPACE/JOB
    closed_ports: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"job {self.job} on fabric {self.fabric}"


class Membership:
    """Holds the Join stream to the agent's admin socket, and opens it anew when the agent was restarted.

    Used as `async with`; inside, `joined` is what the node held first, and `lost` is done, with the reason as its
    exception, when the agent says that it is no more. Raises what the agent refuses with, UNAVAILABLE without one that
    keeps fabrics, TIMEOUT when none answers within *patience* seconds.
    """

    joined: Any  # JoinFabricResponse
    lost: asyncio.Task[NoReturn]

    def __init__(self, place: Place, socket: str, *, patience: float, say: Callable[[str], None]) -> None:
        self._place = place
        self._address = f"{socket}.admin"
        self._patience = patience
        self._say = say

    async def __aenter__(self) -> Self:
        options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 2000)]
        self._channel = grpc.aio.insecure_channel(f"unix:{self._address}", options=options)
        try:
            call, self.joined = await self._open()
        except BaseException:
            await self._channel.close(None)
            raise
        self.lost = asyncio.create_task(self._keep(call))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.lost.cancel()
        with contextlib.suppress(asyncio.CancelledError, RingfenceError):
            await self.lost
        await self._channel.close(None)

    async def _open(self) -> tuple[Any, Any]:
        """A new stream and its first answer, which comes once the node holds all of it."""
        place = self._place
        call = Client(self._channel, service_of(admin_pb2, "Fabrics")).Join(
            admin_pb2.JoinFabricRequest(fabric=place.fabric, job=place.job, closed_ports=place.closed_ports)
        )
        try:
            async with asyncio.timeout(self._patience + _TO_SAY_WHY):
                answer = await call.read()
        except TimeoutError:
            call.cancel()
            raise RingfenceError(
                Kind.TIMEOUT,
                f"the agent has not let this run take part in {place} for {self._patience:g} s",
                where=self._address,
                hint="Is the server there, and does the agent's log say that it applied the fabric?",
            ) from None
        except grpc.aio.AioRpcError as error:
            raise self._refused(error) from None
        if answer is _EOF:
            raise RingfenceError(Kind.UNAVAILABLE, f"the agent ended {place} at once", where=self._address)
        # What was asked to be closed and is not would be open to everybody on the wire.
        if open_ports := set(place.closed_ports) - set(answer.closed_ports):
            call.cancel()
            what = f"the agent does not close port {min(open_ports)} of this node"
            raise RingfenceError(Kind.DENIED, what, where=self._address, hint="Run an agent of the same version")
        return call, answer

    async def _keep(self, call: Any) -> NoReturn:
        """Read until the stream ends, then join again, unless the agent said why not."""
        while True:
            try:
                while (answer := await call.read()) is not _EOF:
                    self._note(answer)
            except grpc.aio.AioRpcError as error:
                if (found := self._refused(error)).kind not in _AWAY:
                    raise self._taken(found) from None
            self._say(f"lost the agent; joining {self._place} again as soon as it is back")
            call = await self._open_again()
            self._say(f"joined {self._place} again")

    async def _open_again(self) -> Any:
        """Refusals count only when they last: an agent that comes back has yet to learn who its processes are."""
        pause, since, clock = _FIRST_PAUSE, 0.0, asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            try:
                return (await self._open())[0]
            except RingfenceError as error:
                if error.kind in _AWAY:
                    since = 0.0
                elif since and clock() - since > self._patience:
                    raise self._taken(error) from None
                else:
                    since = since or clock()

    def _note(self, answer: Any) -> None:
        if answer.fabric != self.joined.fabric:
            self._say(f"fabric {self._place.fabric} is another one now: the command has the environment of before")

    def _taken(self, why: RingfenceError) -> RingfenceError:
        detail = f"the command ends, since it may not be in {self._place} any more: {why.detail}"
        return RingfenceError(Kind.DENIED, detail, where=why.where, hint=why.hint)

    def _refused(self, error: grpc.aio.AioRpcError) -> RingfenceError:
        hints = {
            Kind.UNAVAILABLE: "Is an agent running? Name its socket with --socket or RINGFENCE_SOCKET",
            Kind.UNIMPLEMENTED: "Start the agent with --fabric, as root: it keeps no fabrics without",
            Kind.DENIED: "A FabricGrant in force has to name this workload and the job: `ringfence policy show`",
            Kind.NOT_FOUND: "Name the fabric as NAMESPACE/NAME; has it an interface on this node?",
        }
        what = f"the agent does not let this run take part in {self._place}"
        return refusal(error, what, where=self._address, hints=hints)
