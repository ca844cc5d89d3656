"""The one stream to the server: kept, lost, taken up again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ringfence.broker.address import Address
from ringfence.broker.agent.dial import Dialler, Trust
from ringfence.certs.authority import Authority
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.proto import workload
from tests.broker.agent.harness import HEADER, OWN_UID, running_agent, workload_client
from tests.broker.server.harness import TRUST_DOMAIN, running_server, system_clock
from tests.ports import free_port

ID = "spiffe://example.org/ns/a/sa/w"
OTHER = "spiffe://example.org/ns/a/sa/other"


def _dialler(address: str, bundle: SpiffeBundle | None, trust_domain: TrustDomain = TRUST_DOMAIN) -> Dialler:
    return Dialler(Address.parse(address, flag="--server"), lambda: Trust(trust_domain, bundle), lambda: None)


async def test_a_lost_server_is_found_again(tmp_path: Path) -> None:
    """Streams live through the server's absence, and get new entries by push once it is back."""
    listen = f"127.0.0.1:{free_port()}"
    async with workload_client(tmp_path / "agent.sock") as client:
        async with running_server(tmp_path, listen=listen) as server:
            agent = running_agent(tmp_path, server)
            await agent.__aenter__()
            await server.create_entry(ID, OWN_UID)
            call = client.FetchX509SVID(workload.X509SVIDRequest(), metadata=HEADER, timeout=60)
            assert len((await call.read()).svids) == 1
        async with running_server(tmp_path, listen=listen) as server:
            await server.create_entry(OTHER, OWN_UID)
            assert len((await call.read()).svids) == 2
            call.cancel()
            await agent.__aexit__(None, None, None)


async def test_a_server_of_another_authority_is_a_stranger(tmp_path: Path) -> None:
    """A server whose certificate the bundle does not vouch for is not spoken to."""
    stranger = Authority.create(TRUST_DOMAIN, MemoryKeys(), now=system_clock()).bundle(1)
    async with running_server(tmp_path) as server:
        with pytest.raises(RingfenceError) as caught:
            await _dialler(server.address, stranger).dial()
    assert caught.value.kind is Kind.UNAUTHENTICATED


async def test_the_servers_name_must_be_the_servers(tmp_path: Path) -> None:
    """Whoever answers under the right authority with another SPIFFE ID than the server's is a stranger too."""
    async with running_server(tmp_path) as server:
        dialler = _dialler(server.address, await server.bundle(), TrustDomain("other.org"))
        with pytest.raises(RingfenceError, match=r"it is spiffe://example\.org/ringfence/server"):
            await dialler.dial()


async def test_an_absent_server_is_unavailable() -> None:
    """Nobody there is UNAVAILABLE, and names the address."""
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(RingfenceError) as caught:
        await _dialler(address, None).dial()
    assert caught.value.kind is Kind.UNAVAILABLE
    assert caught.value.where == address


async def test_something_that_speaks_no_tls_is_refused() -> None:
    """A port of something else ends as an error in words."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 no\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(RingfenceError) as caught:
            await _dialler(f"127.0.0.1:{port}", None).dial()
    assert caught.value.kind in {Kind.UNAUTHENTICATED, Kind.UNAVAILABLE}
