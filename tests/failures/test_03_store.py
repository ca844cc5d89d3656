"""A store that can't be written while agents are connected: what is known is served, and nothing is half done."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from ringfence.broker.store import ledger
from ringfence.proto import workload
from tests.broker.agent.harness import HEADER, OWN_UID, first_svids, running_agent, workload_client
from tests.broker.server.harness import running_server
from tests.broker.world import let_write

ID = "spiffe://example.org/w"


async def test_a_read_only_store_takes_no_identity_away_and_gives_no_new_one(tmp_path: Path) -> None:
    """Nothing is signed that is not on record first; without a restart all goes on when it can be written."""
    async with running_server(tmp_path) as server, running_agent(tmp_path, server, hold=10) as agent:
        store = server.parts.store
        await server.create_entry(ID, OWN_UID)
        before = await first_svids(agent.socket)
        recorded = await store.run(ledger.states)
        await let_write(store, allowed=False)
        # 1. What is known is served; nothing else is done.
        assert await first_svids(agent.socket) == before
        assert (await server.bundle()).sequence == 1
        with pytest.raises(grpc.aio.AioRpcError, match="may not be written"):
            await server.create_entry("spiffe://example.org/more", OWN_UID)
        async with workload_client(agent.socket) as client:
            with pytest.raises(grpc.aio.AioRpcError):
                await client.FetchJWTSVID(workload.JWTSVIDRequest(audience=["db"]), metadata=HEADER)
        # 2. It is back, and nothing was signed in between.
        await let_write(store, allowed=True)
        assert await store.run(ledger.states) == recorded
        await server.create_entry("spiffe://example.org/more", OWN_UID)
        async with workload_client(agent.socket) as client:
            answer = await client.FetchJWTSVID(workload.JWTSVIDRequest(audience=["db"]), metadata=HEADER)
        assert {svid.spiffe_id for svid in answer.svids} == {ID, "spiffe://example.org/more"}
