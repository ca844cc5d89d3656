"""One signer as the server sees it: a child process that is asked, answers in order, and may die at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import deque
from typing import Any

from ringfence.broker.keys.choice import Unlocked
from ringfence.broker.signing import wire
from ringfence.certs.spiffe_id import TrustDomain

_COMMAND = (sys.executable, "-m", "ringfence.broker.signing.child")
_START_SECONDS = 30.0
ANSWER_SECONDS = 30.0  # a token on a network may take some for 500 signatures
_END_SECONDS = 5.0


class GoneError(Exception):
    """A signer has died, or was never there: what it was asked is to be asked of another."""


class Signer:
    """A process that runs. Several may ask at once; every question ends in its answer or in GoneError."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._asked: deque[asyncio.Future[dict[str, Any]]] = deque()
        self._gone = False
        self._reader = asyncio.create_task(self._read())

    def __repr__(self) -> str:
        return f"<Signer {self.pid}, {len(self._asked)} asked>"

    @classmethod
    async def start(cls, trust_domain: TrustDomain, keys: Unlocked) -> Signer:
        """One that has opened its keys; raises RingfenceError when it cannot, GoneError when it does not run."""
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(*_COMMAND, stdin=pipe, stdout=pipe)
        except OSError as error:
            raise GoneError(error.strerror) from error
        signer = cls(process)
        try:
            async with asyncio.timeout(_START_SECONDS):
                # The passphrase or PIN goes by the pipe: command lines and environments are for others to read.
                await signer.ask({"trust_domain": trust_domain.name, "keys": wire.say_keys(keys)})
        except BaseException as error:
            await signer.close()
            if isinstance(error, TimeoutError):
                raise GoneError("it does not answer") from error
            raise
        return signer

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def gone(self) -> bool:
        """Whether it answers no more."""
        return self._gone

    @property
    def busy(self) -> int:
        """Questions that wait for an answer."""
        return len(self._asked)

    async def ask(self, message: dict[str, Any]) -> list[Any]:
        """The answers to *message*; raises GoneError, and the RingfenceError that it answers as a whole."""
        if self._gone or self._process.stdin is None:
            raise GoneError
        answered: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._asked.append(answered)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._send(self._process.stdin, message)
                answer = await answered
        except TimeoutError:
            # It hangs, or was stopped: whatever it still makes of this reaches nobody.
            self._lose()
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            raise GoneError from None
        if "failed" in answer:
            raise wire.hear_error(answer["failed"])
        return list(answer["answers"])

    async def _send(self, pipe: asyncio.StreamWriter, message: dict[str, Any]) -> None:
        try:
            pipe.write(wire.frame(message))
            await pipe.drain()
        except (ConnectionError, RuntimeError):
            self._lose()

    async def close(self) -> None:
        """End it: its input ends, and if that is not enough, it is killed."""
        self._lose()
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reader

    async def _read(self) -> None:
        source = self._process.stdout
        try:
            while source is not None:
                (size,) = wire.HEADER.unpack(await source.readexactly(wire.HEADER.size))
                if size > wire.MAX_FRAME:
                    break
                answer = wire.unframe(await source.readexactly(size))
                # One whose asker has gone away is answered all the same: answers come in the order asked.
                if self._asked and not (asked := self._asked.popleft()).done():
                    asked.set_result(answer)
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            pass
        self._lose()

    def _lose(self) -> None:
        self._gone = True
        while self._asked:
            if not (asked := self._asked.popleft()).done():
                asked.set_exception(GoneError())
