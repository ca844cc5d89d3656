"""kill -9 of the real server at any moment: nothing acknowledged is lost, and what was half done left a trace."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from pathlib import Path

import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.agent.v1 import agent_pb2 as agent
from ringfence.certs.crl import read_crl
from ringfence.certs.profile import new_csr
from tests.broker.server.harness import ServerUnderTest, server_process
from tests.broker.server.node import Node
from tests.ports import free_port

ROUNDS = 5
SEED = 20261124


class Traffic:
    """Creates entries and fetches SVIDs until the server is gone; remembers what was acknowledged."""

    def __init__(self) -> None:
        self.entries: set[str] = set()
        self.serials: set[str] = set()
        self.first = asyncio.Event()
        self.revoked = asyncio.Event()

    async def register(self, server: ServerUnderTest, label: str) -> None:
        """One entry after the other."""
        number = 0
        while True:
            number += 1
            try:
                made = await server.create_entry(f"spiffe://example.org/{label}/{number}", "unix:uid:1000")
            except grpc.aio.AioRpcError:
                return
            self.entries.add(made.id)
            self.first.set()

    async def fetch(self, node: Node, entry_id: str) -> None:
        """One SVID after the other."""
        csr = new_csr(ec.generate_private_key(ec.SECP256R1()))
        try:
            async with node.connected() as stream:
                while True:
                    await stream.say(svids=agent.SvidRequest(items=[agent.SvidItem(entry_id=entry_id, csr=csr)] * 3))
                    for result in (await stream.hear("svids")).results:
                        leaf = x509.load_der_x509_certificate(result.chain[0])
                        self.serials.add(f"{leaf.serial_number:032x}")
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, AssertionError):
            return


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_no_acknowledged_revocation_is_lost(tmp_path: Path) -> None:
    """Killed between record and push, the server refuses after its restart what it confirmed, and lists all of it."""
    draw = random.Random(SEED)  # noqa: S311  # no secret
    traffic, port, http, revoked = Traffic(), free_port(), free_port(), set[str]()
    for number in range(ROUNDS):
        async with server_process(tmp_path, port=port, http_port=http) as server:
            node = Node(server.address, server.bundle_pem)
            await node.attest(await server.token())
            entry = await server.create_entry(f"spiffe://example.org/base/{number}", "unix:uid:1000")
            fetching = asyncio.create_task(traffic.fetch(node, entry.id))
            revoking = asyncio.create_task(_revoke_all(server, traffic, revoked))
            await traffic.revoked.wait()
            await asyncio.sleep(draw.uniform(0, 0.2))  # the moment of death, not a wait for anything
            assert server.process is not None
            server.process.kill()
            await server.process.wait()
            await asyncio.gather(fetching, revoking)
            traffic.revoked.clear()
        async with server_process(tmp_path, port=port, http_port=http) as server:
            held = await server.admin.ListRevocations(pb.ListRevocationsRequest())
            listed = frozenset[str]().union(*(read_crl(one.crl).serials for one in held.lists))
            assert revoked <= {one.serial for one in held.certificates} == listed
            async with node.connected() as stream:
                told = agent.Revoked.FromString((await stream.hear("revoked")).revoked)
                assert [one.crl for one in held.lists] == list(told.crls)


async def _revoke_all(server: ServerUnderTest, traffic: Traffic, revoked: set[str]) -> None:
    """Every serial that comes, until the server is gone; *revoked* has those that were confirmed."""
    while True:
        for serial in traffic.serials - revoked:
            try:
                await server.admin.RevokeIdentities(pb.RevokeIdentitiesRequest(serials=[serial]))
            except grpc.aio.AioRpcError:
                return
            revoked.add(serial)
            traffic.revoked.set()
        await asyncio.sleep(0.001)  # for more of them


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_no_acknowledged_registration_is_lost_and_every_svid_is_in_the_ledger(tmp_path: Path) -> None:
    """Five rounds: the server is killed while it registers and issues, and must still know all that it confirmed."""
    draw = random.Random(SEED)  # noqa: S311  # no secret
    traffic, port, http = Traffic(), free_port(), free_port()
    agent_id = bundle = ""
    for number in range(ROUNDS):
        async with server_process(tmp_path, port=port, http_port=http) as server:
            known = {entry.id for entry in (await server.admin.ListEntries(pb.ListEntriesRequest())).entries}
            assert traffic.entries <= known
            # The same authority, the same admitted agents.
            assert bundle in {"", server.bundle_pem.decode()}
            bundle = server.bundle_pem.decode()
            node = Node(server.address, server.bundle_pem)
            await node.attest(await server.token())
            agent_id = node.spiffe_id
            entry = await server.create_entry(f"spiffe://example.org/base/{number}", "unix:uid:1000")
            tasks = [
                asyncio.create_task(traffic.register(server, f"r{number}")),
                asyncio.create_task(traffic.fetch(node, entry.id)),
            ]
            await traffic.first.wait()
            await asyncio.sleep(draw.uniform(0, 0.3))  # the moment of death, not a wait for anything
            assert server.process is not None
            server.process.kill()
            await server.process.wait()
            await asyncio.gather(*tasks)
    async with server_process(tmp_path, port=port, http_port=http) as server:
        known = {entry.id for entry in (await server.admin.ListEntries(pb.ListEntriesRequest())).entries}
        assert traffic.entries <= known
    with sqlite3.connect(tmp_path / "server" / "ringfence.sqlite3") as database:
        states = dict(database.execute("SELECT serial, state FROM issuance"))
        nodes = {row[0] for row in database.execute("SELECT spiffe_id FROM nodes")}
        [revision] = database.execute("SELECT revision FROM feed").fetchone()
        revisions = [row[0] for row in database.execute("SELECT revision FROM changes ORDER BY revision")]
    database.close()
    assert traffic.serials
    assert all(states.get(serial) == "issued" for serial in traffic.serials)
    assert agent_id in nodes
    assert revisions == list(range(1, revision + 1))
