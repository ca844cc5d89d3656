"""`ringfence fabric members`: who is in, who may not be, and what nodes hold."""

from __future__ import annotations

from pathlib import Path

from tests.broker.cli.operator import ringfence
from tests.broker.server.fabrics import (
    EVAL,
    FABRIC,
    LLM,
    RAIL,
    SCORER,
    TRAINER,
    claim_of,
    entry_of,
    intent,
    new_node,
    on_fabric,
    until,
)
from tests.broker.server.harness import running_server
from tests.broker.server.node import joined

A, B, C = "10.91.0.1", "10.91.0.2", "10.91.0.3"


async def test_members_are_listed_with_what_their_nodes_hold(tmp_path: Path) -> None:
    """And those that are refused with the reason; an idle node is no member."""
    async with running_server(tmp_path) as server:
        await server.apply(intent())
        here = ("--admin-socket", server.admin_socket)
        entry, scorer, away = await entry_of(server), await entry_of(server, SCORER), await joined(server)
        async with on_fabric(away) as node:
            await node.claim(claim_of(entry, C))
            await node.until(lambda one: one.members() == {C})
        members = server.parts.admitting.members
        await until(lambda: all(one.leaves for one in members.rows))
        async with new_node(server) as one, new_node(server) as two, new_node(server) as three, new_node(server):
            await one.claim(claim_of(entry, A))
            await one.until(lambda node: node.members() == {A, C})
            await two.claim(claim_of(scorer, A, job=EVAL, spiffe_id=SCORER))
            await two.until(lambda node: bool(node.refusals))
            await three.claim(claim_of(scorer, B, job=EVAL, spiffe_id=SCORER))
            await three.until(lambda node: node.members(EVAL) == {B})
            listed = (await ringfence("fabric", "members", *here, "-o", "json")).json["items"]
            assert {item["nodeState"] for item in listed} == {"pending", "away"}
            await one.until(lambda node: node.members() == {A, C})
            await one.applied()
            await two.applied()
            await three.applied(code=9, detail="nft is missing")
            await until(lambda: sum(bool(node.applied.revision) for node in members.nodes.values()) == 3)

            listed = (await ringfence("fabric", "members", "rail", *here, "-o", "json")).json["items"]
            assert [
                (item["job"], item["addresses"], item["state"], item["nodeState"], item["detail"])
                for item in sorted(listed, key=lambda item: (item["job"], item["state"], item["addresses"]))
            ] == [
                (LLM, [A], "member", "applied", ""),
                (LLM, [C], "member", "away", ""),
                (EVAL, [B], "member", "failed", "nft is missing"),
                (EVAL, [A], "refused", "applied", f"{A} is that of node {one.node.spiffe_id}"),
            ]
            assert {item["fabric"] for item in listed} == {RAIL}
            assert [(item["since"], item["until"]) for item in listed if item["state"] == "refused"] == [(None, None)]
            table = await ringfence("fabric", "members", "--job", "llm", *here)
            assert [line.split()[:3] for line in table.out.splitlines() if line.startswith("platform")] == [
                [RAIL, LLM, TRAINER]
            ] * 2
            names = await ringfence("fabric", "members", RAIL, "--job", EVAL, *here, "-o", "name")
            assert names.out.count(SCORER) == 2


async def test_a_fabric_is_named_as_far_as_is_needed(tmp_path: Path) -> None:
    """One that nobody declares, and a name of two, are refused with what there is."""
    async with running_server(tmp_path) as server:
        here = ("--admin-socket", server.admin_socket)
        missing = await ringfence("fabric", "members", "rail", *here)
        assert (missing.code, "there is no fabric rail" in missing.err) == (1, True)
        other = FABRIC.replace("namespace: platform", "namespace: team-a").replace("10.91.", "10.92.")
        await server.apply(intent() | {"other.yaml": other.replace("fab*", "oth*")})
        several = await ringfence("fabric", "members", "rail", *here)
        assert "rail is the name of platform/rail and team-a/rail. Name the fabric as NAMESPACE/NAME" in several.err
        assert (await ringfence("fabric", "members", "team-a/rail", *here, "--no-headers")).out == ""
