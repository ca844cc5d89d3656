"""An open stream's view of what its caller is entitled to: the first waited for, each later one as things change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Protocol

from ringfence.broker.agent.callers import Caller
from ringfence.broker.agent.entry import Entry
from ringfence.broker.agent.fan_out import Steady
from ringfence.broker.agent.view import View
from ringfence.broker.attest.launch import Launch
from ringfence.certs.selectors import Selector
from ringfence.proto.status import Code, Status

if TYPE_CHECKING:
    from ringfence.broker.agent.watches import Watches

NO_IDENTITY = "no identity issued"


class Subject(Protocol):
    """Who a stream's answers are for: the process that called, or a workload that somebody else named."""

    @property
    def selectors(self) -> frozenset[Selector]:
        """All that is true of it."""
        ...

    def check(self) -> None:
        """Raise DENIED or Status unless it is still the one that was attested."""
        ...

    def may_be_of(self, launch: Launch) -> bool:
        """Whether *launch*, which came or went, can change what it is."""
        ...

    def lost_its_launcher(self) -> bool:
        """Whether whoever vouched for it does no more."""
        ...

    def look_up(self) -> None:
        """Ask again who vouches for it."""
        ...


class Watch:
    """One stream. The caller is checked before every view, so that nothing is sent to a process that has changed."""

    def __init__(self, caller: Subject, watches: Watches) -> None:
        self.caller = caller
        self.group = id(caller)  # equal for the streams of one caller
        self.entries: tuple[Entry, ...] = ()
        self._watches = watches
        self._touched = True
        self._waiter: asyncio.Future[None] | None = None
        self._steady: Steady | None = None  # while nothing but a change is waited for
        self.revoked = ""  # an identity that it would have, when that is why it has none
        self._match = True  # the entries are to be matched anew
        self._launch = False  # who vouches is to be looked up anew

    def mark(self, *, match: bool = False, launch: bool = False) -> None:
        """Something changed that this stream may show: nothing is shown before it was looked at again."""
        self._touched = True
        self._match = self._match or match
        self._launch = self._launch or launch

    def wake(self) -> None:
        """Have it look now, if it waits."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def is_steady(self) -> bool:
        """Whether it waits for nothing but the next change (fan_out.Showing)."""
        return self._steady is not None

    def show(self, look: Callable[[tuple[Entry, ...]], View]) -> bool:
        """Show what changed here and now; False when only the task can: to attest or match anew, to wait, to end."""
        if self._steady is None or self._match or self._launch:
            return False
        if self.caller.lost_its_launcher():  # told once
            self._launch = True
            return False
        if not self._steady.show(look(self.entries)):
            return False
        self._touched = False
        return True

    async def _change(self, steady: Steady | None = None) -> None:
        """Until something was touched since the last look; one waits at a time, so it needs no asyncio.Event.

        What *steady* could be shown meanwhile has been.
        """
        if self._touched:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        self._steady = steady
        try:
            await self._waiter
        finally:
            self._waiter = self._steady = None

    async def views(
        self,
        ready: Callable[[View], bool],
        same: Callable[[View], object],
        enough: Callable[[View], bool] = lambda _: False,
        narrow: Callable[[View], View] = lambda view: view,
        send: Callable[[View], bool] | None = None,
    ) -> AsyncIterator[View]:
        """The views that are *ready*, unless `same` is as in the last; ends only by Status. *narrow* is what it shows.

        With *send*, which says whether it could without waiting, later views may go there and are not seen here.

        PERMISSION_DENIED when the bounded wait ends without an identity, or when the last one is withdrawn;
        UNAVAILABLE when there is an entitlement but nothing to show for it (the server is away). A view that is not
        *ready* when the wait ends is shown all the same if it is *enough*: what cannot be had withholds nothing else.
        """
        loop = asyncio.get_running_loop()
        deadline: float | None = loop.time() + self._watches.hold
        steady = Steady(ready, same, send)
        settled = False
        while True:
            self._touched = False
            view = narrow(await self._look())
            if (ready(view) or (settled and enough(view))) and (shown := same(view)) != steady.last:
                steady.last, deadline = shown, None
                yield view  # what changes while it is sent touches it again
            elif not view.entries and self.revoked:
                # Nothing to wait for: an operator has said no (SPIFFE_Workload_API.md section 5.2.1).
                raise Status(Code.PERMISSION_DENIED, f"{NO_IDENTITY}: {self.revoked} was revoked")
            elif deadline is None and not view.entries:
                raise Status(Code.PERMISSION_DENIED, NO_IDENTITY)
            if deadline is None:
                await self._change(steady if send else None)
                continue
            try:
                async with asyncio.timeout_at(deadline):
                    await self._change()
            except TimeoutError:
                if not enough(view):
                    raise self._watches.refusal(view) from None
                settled, deadline = True, None

    async def first(self, ready: Callable[[View], bool]) -> View:
        """The first view that is *ready*, waited for as `views` does."""
        async for view in self.views(ready, lambda view: view.key):
            return view
        raise AssertionError("views ends by Status only")

    async def _look(self) -> View:
        watches = self._watches
        # 1. Still the process that was attested; a launcher that has ended vouches for nobody.
        self.caller.check()
        # 2. Attest anew when entries ask for facts that were not looked for, or those that were found changed.
        while self._match and isinstance(self.caller, Caller) and not self.caller.is_current(watches.wanted):
            self.caller = await watches.callers.again(self.caller)
        if self._launch or self.caller.lost_its_launcher():
            self._launch, self._match = False, True
            self.caller.look_up()
        # 3. Match.
        if self._match:
            self._match = False
            watches.rematch(self)
        return watches.cache.view(self.entries)
