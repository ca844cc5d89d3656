"""The training job: rows from the database, a recipe from the registry, statistics from the hub, a checkpoint back.

It knows its upstreams by environment only (`RINGFENCE_UPSTREAM_*`, loopback addresses of its own proxy) and holds no
key. Prints one JSON line a call (`call`, `url`, `status`, `trace`) and at the end one summary line (`framework`,
`loss_before`, `loss_after`, `rows`, `epochs`, `checkpoint`). Exit code 1 when a call fails or nothing was learned.
`RINGFENCE_DEMO_FRAMEWORK=numpy` trains without torch.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import sys
from typing import Any

from ringfence.broker.demo.workloads.job import Recipe, Trained, train

REGISTRY = "RINGFENCE_UPSTREAM_REGISTRY_HTTP"
FEATURES = "RINGFENCE_UPSTREAM_FEATURES_POSTGRES"
HUB = "RINGFENCE_UPSTREAM_HUB_HTTPS"
CHECKPOINT = "/models/team-a/checkpoint"
TIMEOUT = 10.0


def address(upstream: str) -> tuple[str, int]:
    """Host and port of an upstream."""
    text = os.environ.get(upstream) or sys.exit(f"{upstream} is not set. Start this with `ringfence run`")
    host, _, port = text.rpartition(":")
    return host, int(port)


def say(**facts: Any) -> None:
    """One JSON line."""
    print(json.dumps(facts), flush=True)


def request(upstream: str, method: str, path: str, body: bytes | None = None) -> bytes:
    """One call with a trace of our own; ends the job when it is refused."""
    host, port = address(upstream)
    trace = secrets.token_hex(16)
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    try:
        connection.request(method, path, body, {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"})
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        say(call=f"{method} {path}", url=f"http://{host}:{port}{path}", status=0, trace=trace, error=str(error))
        sys.exit(1)
    finally:
        connection.close()
    say(call=f"{method} {path}", url=f"http://{host}:{port}{path}", status=response.status, trace=trace)
    if response.status >= http.client.BAD_REQUEST:
        sys.exit(f"{method} {path} was answered with {response.status}: {content[:200].decode(errors='replace')}")
    return content


def read_rows() -> list[tuple[float, ...]]:
    """All rows, by psycopg through the loopback port; TLS is the proxies' business."""
    import psycopg

    host, port = address(FEATURES)
    try:
        with psycopg.connect(
            host=host, port=port, user="trainer", dbname="features", sslmode="disable", connect_timeout=10
        ) as connection:
            rows = connection.execute("select x1, x2, x3, x4, y from rows order by id").fetchall()
    except psycopg.Error as error:
        say(
            call="select rows", url=f"postgresql://{host}:{port}/features", status=0, trace="", error=str(error).strip()
        )
        sys.exit(1)
    say(call="select rows", url=f"postgresql://{host}:{port}/features", status=200, trace="", rows=len(rows))
    return rows


def report(trained: Trained, rows: int, recipe: Recipe) -> None:
    """The summary line."""
    say(
        framework=trained.framework,
        loss_before=round(trained.loss_before, 4),
        loss_after=round(trained.loss_after, 4),
        rows=rows,
        epochs=recipe.epochs,
        checkpoint=CHECKPOINT,
    )


def main() -> None:
    """Do the job once."""
    rows = read_rows()
    base = json.loads(request(REGISTRY, "GET", "/models/shared/base"))
    statistics = json.loads(request(HUB, "GET", "/models/base"))
    recipe = Recipe(**base, **statistics)
    trained = train(rows, recipe, framework=os.environ.get("RINGFENCE_DEMO_FRAMEWORK", "torch"))
    weights = json.dumps(trained.weights).encode()
    request(REGISTRY, "PUT", CHECKPOINT, weights)
    kept = request(REGISTRY, "GET", CHECKPOINT) == weights
    report(trained, len(rows), recipe)
    sys.exit(0 if kept and trained.loss_after < trained.loss_before else 1)


if __name__ == "__main__":
    main()
