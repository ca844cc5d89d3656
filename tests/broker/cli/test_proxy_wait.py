"""`ringfence proxy wait`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ringfence.admin.v1.admin_pb2 import ProxyStatus, WatchProxiesResponse
from ringfence.broker.cli.proxy_wait import CODES, told
from tests.broker.cli.operator import ringfence
from tests.broker.server.harness import running_server
from tests.broker.test_intent import RULE, WORKLOADS


@pytest.mark.e2e
async def test_the_wait_ends_with_a_code_that_says_how(tmp_path: Path) -> None:
    """0 when it is held; 6 after the timeout, of a proxy that is not there or a revision that is not in force."""
    async with running_server(tmp_path) as server:
        revision = (await server.apply({"w.yaml": WORKLOADS, "r.yaml": RULE})).revision
        where = ("--admin-socket", server.admin_socket)
        done = await ringfence("proxy", "wait", revision[:10], *where)
        assert (done.code, done.out) == (0, "")
        absent = await ringfence("proxy", "wait", revision, "--for", "a/trainer", "--timeout", "1s", *where)
        assert absent.code == 6
        assert absent.err.splitlines()[1] == "  a/trainer: no proxy of it is connected"
        other = await ringfence("proxy", "wait", "0123", "--timeout", "1s", *where)
        assert other.code == 6
        assert other.err == f"Error: revision 0123 is not in force here; {revision[:12]} is\n"


LATE = [ProxyStatus(node="n1", state="NACK", detail="r.yaml:3: bad"), ProxyStatus(node="n2", state="STALE")]


@pytest.mark.parametrize(
    ("fields", "code", "lines"),
    [
        ({"outcome": "held", "meant": 2, "holding": 2}, 0, ["2 of 2 proxies hold revision abc"]),
        (
            {"outcome": "refused", "meant": 3, "holding": 1, "late": LATE},
            3,
            ["Error: 1 of 3 proxies hold revision abc; it was refused by", "  n1: NACK r.yaml:3: bad", "  n2: STALE"],
        ),
        (
            {"outcome": "timeout", "meant": 1, "late": LATE[1:]},
            6,
            ["Error: 0 of 1 proxies hold revision abc; waited in vain for", "  n2: STALE"],
        ),
        (
            {"outcome": "superseded", "revision": "def"},
            1,
            ["Error: revision abc is not in force any more; def is"],
        ),
    ],
)
def test_each_end_is_said_in_words(fields: dict[str, Any], code: int, lines: list[str]) -> None:
    """Who is late is named with why, those that refuse it first, as the server orders them."""
    answer = WatchProxiesResponse(**{"revision": "abc", **fields})
    assert told(answer, "abc") == lines
    assert CODES.get(answer.outcome, 1) == code
