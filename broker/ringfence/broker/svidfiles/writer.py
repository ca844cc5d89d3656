"""Keeps the files: follows the agent, renews tokens, publishes each change at once, and never takes a file away."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable, Collection
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ringfence.broker.agent.fetching import Delivery, fetch_delivery, fetch_jwt, x509_updates
from ringfence.broker.log import configure, log
from ringfence.broker.svidfiles.contents import Content, changed, chosen, chosen_token, contents, token_life
from ringfence.broker.svidfiles.folder import publish
from ringfence.broker.svidfiles.notify import Hook, tell_systemd
from ringfence.broker.svidfiles.wanted import Access, Wanted
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.rotation import renew_at

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 15.0  # seconds between tries, before jitter
_LOOK = 60.0  # seconds after which a token is looked at again: the clock may jump, the machine may sleep
_JWT_PATIENCE = 10.0  # seconds for one answer


@dataclass(frozen=True, slots=True)
class Job:
    """What is written where, and who is told."""

    socket: str
    folder: Path
    wanted: Wanted
    access: Access
    hook: Hook


class Pauses:
    """Growing pauses with full jitter: those who lost one agent together do not come back together."""

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw = draw
        self._next = _FIRST_PAUSE

    def reset(self) -> None:
        """It worked: the next failure begins anew."""
        self._next = _FIRST_PAUSE

    def next(self) -> float:
        """The seconds to wait now."""
        pause, self._next = self._next, min(self._next * 2, _LONGEST_PAUSE)
        return pause * (0.5 + self._draw())


async def write_once(job: Job, *, patience: float) -> dict[str, Content]:
    """Fetch everything, write it, tell the program; raises what fails, and then nothing is written."""
    delivery = await fetch_delivery(job.socket, patience)
    tokens = {}
    for name, audience in job.wanted.jwt.items():
        answers = await fetch_jwt(job.socket, (audience,), job.wanted.spiffe_id, patience)
        tokens[name] = chosen_token(answers, job.wanted)
    files = contents(delivery, tokens, job.wanted, job.access)
    if absent := [domain for name, domain in job.wanted.federated.items() if name not in files]:
        raise RingfenceError(
            Kind.NOT_FOUND,
            f"the agent has no bundle of {', '.join(absent)}",
            where=job.socket,
            hint="The entry of this workload has to federate with it",
        )
    await asyncio.to_thread(publish, job.folder, files, job.access)
    await job.hook.run(job.folder, sorted(files))
    return files


class Writer:
    """The daemon; `run` lasts until it is cancelled."""

    def __init__(self, job: Job, *, draw: Callable[[], float] = random.random) -> None:
        self._job = job
        self._draw = draw
        self._delivery: Delivery | None = None
        self._tokens: dict[str, str] = {}
        self._untried = set(job.wanted.jwt)
        self._news = asyncio.Event()
        self._wake = {name: asyncio.Event() for name in job.wanted.jwt}
        self._state = {"folder": str(job.folder)}  # for the log: what the files hold

    async def run(self) -> None:
        """Write now and at each renewal."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_x509())
            for name, audience in self._job.wanted.jwt.items():
                group.create_task(self._follow_jwt(name, audience))
            group.create_task(self._publish_news())

    async def _follow_x509(self) -> None:
        pauses = Pauses(self._draw)
        while True:
            try:
                async with aclosing(x509_updates(self._job.socket)) as updates:
                    async for delivery in updates:
                        self._take(delivery)
                        pauses.reset()
            except RingfenceError as error:
                await asyncio.sleep(self._failed("X509-SVID", error, pauses))

    def _take(self, delivery: Delivery) -> None:
        try:
            chosen(delivery, self._job.wanted)
        except RingfenceError as error:  # the stream is kept: what is asked for may come with the next message
            log.warning("not the wanted identity; the files stay", error=str(error), **self._state)
            return
        self._delivery = delivery
        self._news.set()
        for asleep in self._wake.values():  # authorities may have changed too, and tokens with them
            asleep.set()

    async def _follow_jwt(self, name: str, audience: str) -> None:
        pauses = Pauses(self._draw)
        due = datetime.now(UTC)
        while True:
            self._wake[name].clear()
            try:
                answers = await fetch_jwt(self._job.socket, (audience,), self._job.wanted.spiffe_id, _JWT_PATIENCE)
                token = chosen_token(answers, self._job.wanted)
                start, end = token_life(token)
            except RingfenceError as error:
                if self._delivery is not None:  # else there is no agent yet, which refuses nothing
                    self._tried(name)
                await self._sleep(name, self._failed(f"JWT-SVID for {audience}", error, pauses))
                continue
            if self._tokens.get(name) != token:
                self._tokens[name] = token
                due = renew_at(start, end, 2 * self._draw() - 1)
                self._news.set()
                pauses.reset()
            self._tried(name)
            # A token past its half-life: the agent has no newer one yet, and is asked again.
            left = (due - datetime.now(UTC)).total_seconds()
            await self._sleep(name, min(left, _LOOK) if left > 0 else pauses.next())

    async def _sleep(self, name: str, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake[name].wait()

    def _tried(self, name: str) -> None:
        if name in self._untried:
            self._untried.discard(name)
            self._news.set()

    def _failed(self, what: str, error: RingfenceError, pauses: Pauses) -> float:
        """Say so; the seconds until the next try."""
        pause = pauses.next()
        told = {"of": what, "error": str(error), "retry_in": round(pause, 1)}
        log.warning("no news from the agent; the files stay", **told, **self._state)
        return pause

    async def _publish_news(self) -> None:
        pauses = Pauses(self._draw)
        written: dict[str, Content] = {}
        while True:
            await self._news.wait()
            self._news.clear()
            if self._delivery is None or self._untried:  # the first set is whole where it can be
                continue
            files = contents(self._delivery, self._tokens, self._job.wanted, self._job.access)
            if not (names := changed(written, files)):
                continue
            svid = chosen(self._delivery, self._job.wanted)
            try:
                await asyncio.to_thread(publish, self._job.folder, files, self._job.access)
            except RingfenceError as error:
                pause = pauses.next()
                log.error("the files could not be written", error=str(error), retry_in=round(pause, 1))
                await asyncio.sleep(pause)
                self._news.set()
                continue
            pauses.reset()
            written = files
            self._state = {"folder": str(self._job.folder), "spiffe_id": svid.spiffe_id, "expires_at": svid.expires_at}
            log.info("files written", files=names, **self._state)
            await asyncio.to_thread(tell_systemd, "READY=1")  # whoever is ordered after us finds the files
            await self._tell(names, missing=self._job.wanted.names - files.keys())

    async def _tell(self, names: list[str], *, missing: Collection[str]) -> None:
        if missing:
            log.warning("the agent has given nothing yet for some files", files=sorted(missing))
        try:
            await self._job.hook.run(self._job.folder, names)
        except RingfenceError as error:
            log.error("the files are new, but the program could not be told", error=str(error))


def keep_writing(job: Job) -> None:
    """Run the daemon in this process until SIGINT or SIGTERM; the files stay."""
    configure()
    asyncio.run(_until_signalled(job))


async def _until_signalled(job: Job) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    writing = asyncio.create_task(Writer(job).run())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((writing, stopping), return_when=asyncio.FIRST_COMPLETED)
    if writing.done():
        writing.result()
    writing.cancel()
    stopping.cancel()
    await asyncio.wait((writing, stopping))
    log.info("told to end; the files stay", folder=str(job.folder))
