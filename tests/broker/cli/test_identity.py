"""`ringfence identity`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.broker.cli.operator import ringfence
from tests.broker.server.harness import running_server
from tests.broker.server.test_admin_api import INTENT, TRAINER
from tests.broker.server.test_inventory import fetched, joined

pytestmark = pytest.mark.e2e


async def test_operators_list_and_show_what_was_given(tmp_path: Path) -> None:
    """By any of its filters; a serial in openssl's spelling too."""
    async with running_server(tmp_path) as server:
        where = ("--data-dir", server.data_dir)
        made = await server.create_entry(TRAINER, "unix:uid:1000", x509_ttl=120)
        node = await joined(server)
        [serial] = await fetched(node, made.id)
        listed = await ringfence("identity", "list", "--expiring", "10m", *where, "-o", "json")
        assert [item["serial"] for item in listed.json["items"]] == [serial]
        filters = ("--spiffe-id", TRAINER, "--node", node.spiffe_id, "--state", "live")
        assert (await ringfence("identity", "list", *filters, *where, "-o", "name")).out.split() == [serial]
        assert not (await ringfence("identity", "list", "--state", "refused", *where, "-o", "name")).out
        spelled = ":".join(serial.upper()[i : i + 2] for i in range(0, 32, 2))
        shown = await ringfence("identity", "show", spelled, *where, "-o", "json")
        assert (shown.json["spiffeId"], shown.json["entry"]) == (TRAINER, made.id)
        assert (await ringfence("identity", "show", "00", *where)).code == 1


async def test_operators_learn_who_holds_an_identity(tmp_path: Path) -> None:
    """One line a node, with its newest document."""
    async with running_server(tmp_path) as server:
        made = await server.create_entry(TRAINER, "unix:uid:1000")
        first, second = await joined(server), await joined(server)
        await fetched(first, made.id, made.id)
        [serial] = await fetched(second, made.id)
        held = await ringfence("identity", "holders", TRAINER, "--data-dir", server.data_dir, "-o", "json")
        by_node = {item["node"]: (item["live"], item["serial"]) for item in held.json["items"]}
        assert by_node[second.spiffe_id] == (1, serial)
        assert by_node[first.spiffe_id][0] == 2
        assert set(by_node) == {first.spiffe_id, second.spiffe_id}


async def test_operators_learn_why_an_identity_is_given(tmp_path: Path) -> None:
    """The document and its line, the selectors, and why it lives that long."""
    async with running_server(tmp_path) as server:
        await server.apply(INTENT)
        where = ("--data-dir", server.data_dir)
        identity = "spiffe://example.org/ns/a/sa/trainer"
        why = await ringfence("identity", "explain", identity, *where, "-o", "json")
        item = why.json["items"][0]
        assert item["document"].startswith("intent/w.yaml:")
        assert item["selectors"]
        assert "the mesh says" in item["whyTtl"]
        assert "intent/w.yaml:" in (await ringfence("identity", "explain", identity, *where)).out
        assert (await ringfence("identity", "explain", "spiffe://example.org/none", *where)).code == 1
