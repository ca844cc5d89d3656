"""WIT-SVIDs and bundle maps as an operator and a workload see them on the command line."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from ringfence.admin.v1 import admin_pb2 as admin
from ringfence.certs.bundle_map import parse_map
from ringfence.certs.spiffe_id import TrustDomain
from tests.broker.agent.harness import OWN_UID, agent_process, running_agent
from tests.broker.cli.operator import ringfence
from tests.broker.server.harness import TRUST_DOMAIN, ServerUnderTest, running_server, server_process
from tests.certs.material import OTHER_TD, new_authority
from tests.ports import free_port

ON = frozenset({"wit-svid"})
ID = "spiffe://example.org/ns/a/sa/w"


async def test_a_workload_fetches_its_wit_svids(tmp_path: Path) -> None:
    """The key is in the machine-readable forms and in a file of its own, 0600; not in the table."""
    async with running_server(tmp_path, features=ON) as server, running_agent(tmp_path, server, features=ON) as agent:
        await server.create_entry(ID, OWN_UID)
        fetch = ("svid", "fetch", "wit", "--socket", agent.socket)
        [found] = (await ringfence(*fetch, "-o", "json")).json["items"]
        assert (found["spiffe_id"], found["wit_svid"].count(".")) == (ID, 2)
        assert json.loads(found["wit_svid_key"])["d"]
        assert json.loads(found["wit_svid_key"])["d"] not in (await ringfence(*fetch)).out
        wrote = await ringfence(*fetch, "--spiffe-id", ID, "--write", tmp_path / "w")
        files = {path.name: path for path in map(Path, wrote.out.split())}
        assert files.keys() == {"wit.0.token", "wit.0.jwk"}
        assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o600}
        assert files["wit.0.token"].read_text() == found["wit_svid"]


async def test_without_the_feature_there_are_none(tmp_path: Path) -> None:
    """Said in words, and neither the server's authorities nor its bundle know of them."""
    async with running_server(tmp_path) as server, running_agent(tmp_path, server) as agent:
        await server.create_entry(ID, OWN_UID)
        assert (await ringfence("svid", "fetch", "wit", "--socket", agent.socket)).code != 0
        where = ("--data-dir", server.data_dir)
        assert (await ringfence("authority", "wit", "show", *where, "-o", "json")).json["items"] == []
        step = await ringfence("authority", "wit", "prepare", *where)
        assert (step.code, "no kind of authority here" in step.err) == (4, True)
        assert "wit-svid" not in (await ringfence("bundle", "show", "--format", "spiffe", *where)).out


async def test_an_operator_takes_steps_of_wit_authorities(tmp_path: Path) -> None:
    """As with the other kinds."""
    async with running_server(tmp_path, features=ON) as server:
        where = ("--data-dir", server.data_dir, "-o", "json")
        [first] = (await ringfence("authority", "wit", "show", *where)).json["items"]
        assert (await ringfence("authority", "wit", "prepare", *where)).json["state"] == "prepared"
        assert (await ringfence("authority", "wit", "activate", *where)).json["state"] == "active"
        assert (await ringfence("authority", "wit", "taint", *where)).json["id"] == first["id"]


async def test_a_bundle_map_has_ours_and_those_that_are_held(tmp_path: Path) -> None:
    """Whole, for X.509 alone, or of one trust domain."""
    other = new_authority(OTHER_TD)[0].bundle(7)
    file = tmp_path / "other.json"
    await asyncio.to_thread(file.write_bytes, other.to_json())
    async with running_server(tmp_path, features=ON) as server:
        where = ("--data-dir", server.data_dir)
        await ringfence("bundle", "set", OTHER_TD.name, file, *where)

        async def shown(*more: str) -> dict[TrustDomain, object]:
            return dict(parse_map((await ringfence("bundle", "show", *more, *where)).out.encode()))

        own = await server.bundle()
        assert await shown("--format", "map") == {TRUST_DOMAIN: own, OTHER_TD: other}
        assert await shown("other.org", "--format", "map") == {OTHER_TD: other}
        text = (await ringfence("bundle", "show", "--format", "x509-map", *where)).out
        assert "x509-svid" in text
        assert "jwt-svid" not in text
        assert "wit-svid" not in text


async def test_a_workloads_bundle_map_is_a_file(tmp_path: Path) -> None:
    """With the trust domains that its entry federates with."""
    async with running_server(tmp_path) as server, running_agent(tmp_path, server) as agent:
        await server.create_entry(ID, OWN_UID)
        folder = tmp_path / "tls"
        names = ("--cert-file", "", "--key-file", "", "--bundle-file", "", "--bundle-map-file", "map.json")
        done = await ringfence("svid", "write", "--dir", folder, *names, "--socket", agent.socket, "-o", "name")
        assert done.out.split() == [str(folder / "map.json")]
        found = parse_map(await asyncio.to_thread((folder / "map.json").read_bytes))
        assert found[TRUST_DOMAIN].x509_authorities == (await server.bundle()).x509_authorities


@pytest.mark.e2e
async def test_the_commands_take_the_feature_and_a_restart_keeps_the_keys(tmp_path: Path) -> None:
    """Real processes: the server with the flag, the agent too; without it the keys go, as the audit log has it."""
    port, http_port, agent_port = free_port(), free_port(), free_port()

    async def shown(server: ServerUnderTest) -> list[str]:
        found = await server.admin.ShowAuthorities(admin.ShowAuthoritiesRequest(), wait_for_ready=True, timeout=20)
        return [one.id for one in found.authorities if one.kind == "wit"]

    flags = ("--feature", "wit-svid")
    async with server_process(tmp_path, port=port, http_port=http_port, arguments=flags) as server:
        kids = await shown(server)
        assert len(kids) == 1
        await server.create_entry(ID, OWN_UID)
        join = ("--join-token", await server.token(), "--bootstrap-bundle", str(server.data_dir / "bundle.pem"), *flags)
        async with agent_process(tmp_path, server.address, *join, http_port=agent_port) as agent:
            [found] = (await ringfence("svid", "fetch", "wit", "--socket", agent.socket, "-o", "json")).json["items"]
            assert found["spiffe_id"] == ID
    async with server_process(tmp_path, port=port, http_port=http_port, arguments=flags) as server:
        assert await shown(server) == kids
    async with server_process(tmp_path, port=port, http_port=http_port) as server:
        assert await shown(server) == []
        events = await ringfence("audit", "show", "--data-dir", server.data_dir, "--subject", kids[0], "-o", "json")
        assert [item["action"] for item in events.json["items"]] == ["authority.drop"]
