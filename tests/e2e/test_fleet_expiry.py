"""A rule that ends does so at a real Envoy on time, and nobody has to do anything for it."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.mesh import Http, Mesh, application, model_of, running_mesh, wall
from tests.e2e.test_fleet_envoy import INTENT, UPSTREAM, connected, pair, variants

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

LIVES = (1, 1, 2, 2, 4, 4, 8, 8)  # seconds; in the longer ones it is obeyed for a while on any machine
ON_TIME = 0.1  # seconds after its end that a rule may still be obeyed
PATIENCE = 30.0


def ending(text: str, at: datetime) -> str:
    """The same with an end of the rule."""
    return text + f"  expires: {at.isoformat()}\n"


@variants
async def test_a_rule_that_ends_is_not_obeyed_any_more(tmp_path: Path, *, sotw: bool) -> None:
    """Nobody applies anything: 200 before its end, and 403 on the same connection from within 100 ms after it on."""
    async with AsyncExitStack() as stack:
        text = INTENT.replace("APP", str(await application(stack)))
        mesh = await stack.enter_async_context(running_mesh(tmp_path, text))
        keeping = asyncio.create_task(mesh.fleet.run())
        stack.callback(keeping.cancel)
        _, trainer = await pair(mesh, sotw=sotw)
        http = await connected(trainer.upstream[UPSTREAM])
        stack.callback(http.close)
        assert await http.get("/models/a") == 200

        late = []
        for seconds in LIVES:  # one of them is to be on time, on a machine that others use too
            late.append(await _overstay(mesh, text, http, timedelta(seconds=seconds)))
            if late[-1] < ON_TIME:
                break
    assert min(late) < ON_TIME


async def _overstay(mesh: Mesh, text: str, http: Http, lives: timedelta) -> float:
    """How long after its end the rule was last obeyed; infinite if it had ended before it was heard of."""
    end = wall() + lives
    mesh.fleet.apply(model_of(ending(text, end)))
    began = time.monotonic()
    while await http.get("/models/a") != 200:  # the rule of before has ended
        if wall() >= end:
            return math.inf
    obeyed = wall()
    while await http.get("/models/a") == 200:
        obeyed = wall()
        assert time.monotonic() < began + PATIENCE
    assert wall() >= end, "it was not obeyed until its end"
    return (obeyed - end).total_seconds()
