"""`ringfence identity revoke`, `lift` and `revocations`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.broker.cli.operator import ringfence
from tests.broker.server.harness import running_server
from tests.broker.server.test_admin_api import TRAINER
from tests.broker.server.test_inventory import fetched, joined

pytestmark = pytest.mark.e2e


async def test_an_identity_is_revoked_shown_and_lifted(tmp_path: Path) -> None:
    """Tried first, then done; listed with its reason by every command that shows it; then given again."""
    async with running_server(tmp_path) as server:
        where = ("--data-dir", server.data_dir)
        made, node = await server.create_entry(TRAINER, "unix:uid:1000"), await joined(server)
        [serial] = await fetched(node, made.id)
        asked = ("identity", "revoke", TRAINER, "--reason", "laptop lost", *where, "-o", "json")
        tried = await ringfence(*asked, "--dry-run")
        assert not (await ringfence("identity", "revocations", *where, "-o", "name")).out
        done = await ringfence(*asked)
        assert tried.json["items"] == done.json["items"]
        [item] = done.json["items"]
        assert (item["subject"], item["action"], item["documents"]) == (TRAINER, "revoked", 1)
        assert "told: 0 agents, 0 proxies; closed: 0 connections to this server" in done.err
        assert (await ringfence(*asked)).json["items"][0]["action"] == "unchanged"
        listed = await ringfence("identity", "list", "--revoked", *where, "-o", "json")
        assert [(one["serial"], one["reason"]) for one in listed.json["items"]] == [(serial, "laptop lost")]
        shown = await ringfence("identity", "show", serial, *where, "-o", "json")
        assert shown.json["state"] == "revoked"
        why = await ringfence("identity", "explain", serial, *where, "-o", "json")
        assert why.json["items"][0]["why"] == "revoked: laptop lost"
        found = (await ringfence("identity", "revocations", *where, "-o", "json")).json["items"]
        assert [(one["subject"], one["kind"]) for one in found] == [(TRAINER, "identity"), (serial, "certificate")]
        assert found[0]["until"] == "it is lifted"
        assert found[0]["by"].startswith("uid:")
        lifted = await ringfence("identity", "lift", TRAINER, *where, "-o", "json")
        assert lifted.json["items"][0]["action"] == "lifted"
        assert (await ringfence("identity", "revocations", *where, "-o", "name")).out.split() == [serial]
        assert await fetched(node, made.id)


async def test_a_serial_and_a_node_are_revoked(tmp_path: Path) -> None:
    """A serial as openssl spells it; a node is banned with it."""
    async with running_server(tmp_path) as server:
        where = ("--data-dir", server.data_dir)
        made, node = await server.create_entry(TRAINER, "unix:uid:1000"), await joined(server)
        [serial] = await fetched(node, made.id)
        spelled = ":".join(serial.upper()[i : i + 2] for i in range(0, 32, 2))
        done = await ringfence("identity", "revoke", "--serial", spelled, "--code", "superseded", *where, "-o", "json")
        assert [(one["subject"], one["kind"]) for one in done.json["items"]] == [(serial, "serial")]
        done = await ringfence("identity", "revoke", "--node", node.spiffe_id, *where)
        assert done.code == 0
        banned = await ringfence("node", "list", "--banned", *where, "-o", "name")
        assert banned.out.split() == [node.spiffe_id]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), 2),
        (("--serial", "00"), 1),
        (("--serial", "zz"), 2),
        (("--serial", "1" * 33), 2),
        (("nonsense",), 4),
        ((TRAINER, "--code", "whim"), 2),
        (("--node", TRAINER), 4),
    ],
)
async def test_what_makes_no_sense_fails_by_its_exit_code(
    tmp_path: Path, arguments: tuple[str, ...], code: int
) -> None:
    """2 for what the command line cannot be, 4 for what is no name of such a thing, 1 for what is not known."""
    async with running_server(tmp_path) as server:
        done = await ringfence("identity", "revoke", *arguments, "--data-dir", server.data_dir)
        assert done.code == code, done
        assert not (await ringfence("identity", "revocations", "--data-dir", server.data_dir, "-o", "name")).out
