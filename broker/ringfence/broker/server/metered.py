"""Counts every call of a lane by its method and how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from time import perf_counter

from ringfence.broker import metrics
from ringfence.broker.status import code_of
from ringfence.certs.errors import RingfenceError
from ringfence.proto.lane import Call, Handler, Method
from ringfence.proto.status import Code, Status


def metered(methods: Mapping[str, Method]) -> dict[str, Method]:
    """*methods*, counted; a stream counts when it ends, and its duration is its life."""
    return {path: replace(method, handler=_counted(path, method.handler)) for path, method in methods.items()}


def _counted(path: str, handler: Handler) -> Handler:
    _, service, method = path.split("/")
    duration = metrics.DURATION.labels(service, method)

    async def counted(call: Call) -> None:
        started, code = perf_counter(), Code.OK
        try:
            await handler(call)
        except BaseException as error:
            code = _code(error)
            raise
        finally:
            metrics.HANDLED.labels(service, method, code.name).inc()
            duration.observe(perf_counter() - started)

    return counted


def _code(error: BaseException) -> Code:
    match error:
        case Status():
            return error.code
        case RingfenceError():
            return code_of(error.kind)
        case asyncio.CancelledError():
            return Code.CANCELLED
        case _:
            return Code.INTERNAL
