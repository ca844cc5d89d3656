"""A rule that ends does so at a real Envoy on time, and nobody has to do anything for it."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.mesh import Http, Mesh, application, model_of, running_mesh, wall
from tests.e2e.test_fleet_envoy import INTENT, UPSTREAM, connected, pair, variants

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

LIVES = timedelta(seconds=1)
ON_TIME = 0.1  # seconds after its end that a rule may still be obeyed
PATIENCE = 10.0


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
        for _ in range(3):  # one of them is to be on time, on a machine that others use too
            late.append(await _overstay(mesh, text, http))
            if late[-1] < ON_TIME:
                break
    assert min(late) < ON_TIME


async def _overstay(mesh: Mesh, text: str, http: Http) -> float:
    """How long after its end the rule was last obeyed."""
    end = wall() + LIVES
    mesh.fleet.apply(model_of(ending(text, end)))
    began = time.monotonic()
    while await http.get("/models/a") != 200:  # the rule of before has ended
        assert time.monotonic() < began + PATIENCE
    obeyed = wall()
    while await http.get("/models/a") == 200:
        obeyed = wall()
        assert time.monotonic() < began + PATIENCE
    assert wall() >= end, "it was not obeyed until its end"
    return (obeyed - end).total_seconds()
