"""CPU from one changed rule in a mesh of 2,000 workloads to the bytes of the proxies that it touches."""

from __future__ import annotations

import pickle
import statistics
import time
from dataclasses import replace
from typing import Any

from perf import big_mesh
from perf.compile_cold import NOW, all_scopes, compiled
from perf.figure import figure
from ringfence.broker.fleet.scope import Scopes
from ringfence.policy.kept import kept
from ringfence.policy.model import Model

NAME = "compile_one"
GOAL = 20.0  # ms
RUNS = 15


def measure(runs: int = RUNS) -> dict[str, Any]:
    """The figure `compile_one`: as a fleet does it to which a proxy of every workload is connected."""
    model = big_mesh.model()
    scopes = Scopes(model, NOW)
    for known in all_scopes(scopes):
        compiled(known)
    pairs = []
    for turn in range(runs):
        # What a server reads anew shares with what it had only what the loader finds to be the same.
        after = kept(_anew(big_mesh.changed(model, turn * 37)), model)
        started = time.process_time()
        fresh = scopes.after(after, NOW)
        pairs_of = ((scopes.of(key), fresh.of(key)) for key in after.workloads)
        touched = [now for before, now in pairs_of if now is not None and now is not before and now != before]
        judged = time.process_time()
        for one in touched:
            compiled(one)
        done = time.process_time()
        if len(touched) != 2:
            raise RuntimeError(f"a changed rule touches a caller and a service, not {len(touched)}")
        pairs.append(((done - started) * 1e3, (done - judged) * 1e3))
        model, scopes = after, fresh
    value, limit = (statistics.median(column) for column in zip(*pairs, strict=True))
    return figure(
        NAME,
        (
            f"one changed rule of {len(model.rules)}, {len(model.workloads)} proxies: CPU from the new model to the "
            "bytes of the two that it touches, where it shares with the model before what did not change, as a loader "
            "gives it; ratio: ours over the limit"
        ),
        value,
        unit="ms",
        runs=[mine for mine, _ in pairs],
        limit=("compiling those two alone", limit),
        ratio=statistics.median(mine / theirs for mine, theirs in pairs),
        goal=f"<= {GOAL:g} ms",
        met=value <= GOAL,
    )


def _anew(model: Model) -> Model:
    rules, workloads = pickle.loads(pickle.dumps((model.rules, dict(model.workloads))))  # noqa: S301 - our own
    return replace(model, rules=rules, workloads=workloads)
