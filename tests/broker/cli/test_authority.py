"""`ringfence authority`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.broker.cli.operator import ringfence
from tests.broker.server.harness import running_server

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("kind", ["x509", "jwt"])
async def test_an_operator_takes_the_five_steps(tmp_path: Path, kind: str) -> None:
    """In order, each shown; out of order, refused in words with a hint."""
    async with running_server(tmp_path) as server:
        where = ("--data-dir", server.data_dir)

        async def states() -> dict[str, str]:
            listed = await ringfence("authority", kind, "show", *where, "-o", "json")
            assert all(item["kind"] == kind for item in listed.json["items"])
            return {item["id"]: item["state"] for item in listed.json["items"]}

        [first] = await states()
        early = await ringfence("authority", kind, "activate", *where)
        assert early.code != 0
        assert f"no next {kind} authority is prepared" in early.err
        tried = await ringfence("authority", kind, "prepare", "--dry-run", *where, "-o", "json")
        assert (tried.json["id"], tried.json["state"], tried.json["notBefore"]) == ("", "prepared", "")
        assert list(await states()) == [first]
        prepared = await ringfence("authority", kind, "prepare", *where, "-o", "json")
        second = prepared.json["id"]
        assert prepared.json["state"] == "prepared"
        active = await ringfence("authority", kind, "activate", second, *where, "-o", "name")
        assert active.out.strip() == second
        wrong = await ringfence("authority", kind, "revoke", first, *where)
        assert wrong.code != 0
        assert "is old: only a tainted one can be revoked" in wrong.err
        assert (await ringfence("authority", kind, "taint", *where)).code == 0
        assert await states() == {second: "active", first: "tainted"}
        revoked = await ringfence("authority", kind, "revoke", first, *where, "-o", "json")
        assert (revoked.json["state"], revoked.json["sequence"]) == ("revoked", (await server.bundle()).sequence)
        assert await states() == {second: "active"}
        assert "tainted" not in (await ringfence("authority", kind, "show", *where)).out
