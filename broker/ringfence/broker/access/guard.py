"""The guard in front of the admin calls: who is it, is that role enough, and (on the way back) what may it see."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, cast

from ringfence.broker.access import reads, requests
from ringfence.broker.access.access import Access
from ringfence.broker.access.authenticate import Authenticator
from ringfence.broker.access.present import calling, present
from ringfence.broker.access.quota import Quota
from ringfence.broker.access.refusal import denied
from ringfence.broker.access.rights import Caller
from ringfence.broker.access.table import NEEDS, Scope, allowed
from ringfence.broker.audit.actor import acting
from ringfence.broker.audit.calls import audited
from ringfence.broker.audit.journal import AuditLog
from ringfence.broker.log import log
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proto.lane import Call, Handler, Method


@dataclass(frozen=True, slots=True)
class Guard:
    """Makes methods that only those are served by who may."""

    access: Access
    authenticator: Authenticator
    audit: AuditLog
    clock: Callable[[], datetime]
    quota: Quota = field(default_factory=lambda: Quota(time.monotonic))  # of those without any role

    def methods(self, methods: Mapping[str, Method]) -> dict[str, Method]:
        """*methods*, guarded and recorded: known first, then written down, then allowed or not."""
        inner = {path: replace(method, handler=authorised(path, method.handler)) for path, method in methods.items()}
        recorded = audited(inner, self.audit)
        return {
            path: replace(method, handler=self._known(path, method.handler, inner[path].handler))
            for path, method in recorded.items()
        }

    def _known(self, path: str, recorded: Handler, unrecorded: Handler) -> Handler:
        async def known(call: Call) -> None:
            try:
                subject = await self.authenticator.subject_of(call)
            except RingfenceError as error:
                # A stranger is logged, and not recorded: strangers would fill the disk.
                log.warning("admin call of a stranger", call=path, peer=call.peer.address, why=error.detail)
                raise
            who = self.access.caller(subject, self.clock().timestamp())
            full = who.rights.is_none and not self.quota.take()
            if full:
                # Everybody in the mesh is somebody: many refusals are logged, and only so many recorded.
                log.warning("admin call without a role, not recorded", call=path, caller=subject.name)
            with calling(who), acting(subject.name):
                await (unrecorded if full else recorded)(call)

        return known


class _Cut:
    """A call whose requests are looked at and whose answers are cut to what *caller* may see."""

    def __init__(self, call: Call, method: str, caller: Caller) -> None:
        self._call = call
        self._method = method
        self._caller = caller

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    async def receive(self) -> Any:
        """The next request; raises DENIED for one about others."""
        request = await self._call.receive()
        if request is not None:
            requests.check(self._method, request, self._caller)
        return request

    async def send(self, answer: Any) -> None:
        """Send what may be seen of *answer*."""
        shown = reads.shown(self._method, answer, self._caller.rights)
        if shown is not None:
            await self._call.send(shown)


def authorised(path: str, handler: Handler) -> Handler:
    """*handler* for callers whose role is enough; everybody else is told what is missing."""
    method = path.rpartition("/")[2]

    async def checked(call: Call) -> None:
        # 1. Somebody is known to call.
        who = present()
        # 2. The call is in the table; one that nobody thought of is nobody's, not everybody's.
        need = NEEDS.get(method)
        if need is None:
            raise RingfenceError(Kind.DENIED, f"no role may call {method}", hint="It is missing in access/table.py")
        # 3. The role is enough to be heard.
        if not allowed(need, who.rights):
            raise denied(who, need.what, need.role)
        # 4. What is asked about single things is for the handler; what is answered is cut here.
        cut = need.scope is Scope.NAMESPACE and not who.rights.admin
        await handler(cast("Call", _Cut(call, method, who)) if cut else call)

    return checked
