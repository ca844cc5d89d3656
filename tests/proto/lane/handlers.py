"""The service that the lane's tests call: one method for each way a call can go."""

from __future__ import annotations

import asyncio

from ringfence.proto.lane import Call, Method, frame
from ringfence.proto.status import Code, Status


async def echo(call: Call) -> None:
    """Answer every message with itself, and count them in a trailer."""
    count = 0
    while (message := await call.receive()) is not None:
        count += 1
        await call.send(message)
    call.trailing_metadata["count"] = str(count)


async def upper(call: Call) -> None:
    """A unary method."""
    message = await call.receive()
    await call.send(message.upper())


async def numbers(call: Call) -> None:
    """A server stream of as many messages as the request says."""
    for number in range(int(await call.receive())):
        await call.send(frame(str(number).encode()))


async def refuse(call: Call) -> None:
    """End with a status, its message in need of escaping, and trailers."""
    await call.receive()
    raise Status(Code.NOT_FOUND, "kein Schlüssel: 100%\n", {"why": "gone", "why-bin": b"\x00\xff"})


async def crash(call: Call) -> None:
    """Fail with something that must not reach the caller."""
    raise RuntimeError("the secret is 42")


async def silent(call: Call) -> None:
    """Answer nothing and return."""
    await call.receive()


class Watched:
    """A method that says what became of it."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.calls: list[Call] = []

    async def __call__(self, call: Call) -> None:
        """Send one message and wait until cancelled."""
        self.calls.append(call)
        await call.send(b"first")
        self.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


def methods(**more: Method) -> dict[str, Method]:
    """All of the above by path, `/t/Echo` and so on, and *more*."""
    plain = {"Echo": echo, "Upper": upper, "Numbers": numbers, "Refuse": refuse, "Crash": crash, "Silent": silent}
    served = {f"/t/{name}": Method(handler, bytes) for name, handler in plain.items()}
    return served | {f"/t/{name}": method for name, method in more.items()}
