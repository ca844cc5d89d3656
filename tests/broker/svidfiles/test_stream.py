"""The writer against an agent that says what the test wants: federated bundles, other identities, broken messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ringfence.broker.agent.svids import new_key
from ringfence.broker.svidfiles.writer import write_once
from ringfence.certs.authority import Authority
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.proto import workload
from tests.broker.svidfiles.harness import job, until, writing

NOW = datetime.now(UTC)
OURS, THEIRS = TrustDomain("example.org"), TrustDomain("partner.org")


@pytest.fixture(scope="module")
def authorities() -> dict[TrustDomain, Authority]:
    """One of each trust domain."""
    return {domain: Authority.create(domain, MemoryKeys(), now=NOW) for domain in (OURS, THEIRS)}


def message(authorities: dict[TrustDomain, Authority], path: str, *, federated: bool = False) -> Any:
    """An answer of an agent with one identity."""
    key = new_key()
    chain = authorities[OURS].issue_x509(SpiffeId(OURS, path), key.public_key(), now=NOW, ttl=timedelta(hours=1))
    bundles = {domain: authority.bundle(1).x509_der() for domain, authority in authorities.items()}
    svid = workload.X509SVID(
        spiffe_id=f"spiffe://example.org{path}",
        x509_svid=b"".join(chain),
        x509_svid_key=key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        bundle=bundles[OURS],
    )
    others = {"spiffe://partner.org": bundles[THEIRS]} if federated else {}
    return workload.X509SVIDResponse(svids=[svid], federated_bundles=others)


@asynccontextmanager
async def agent(tmp_path: Path) -> AsyncIterator[tuple[asyncio.Queue[Any], list[int]]]:
    """Sends what is put into the queue, to one stream at a time; None ends the stream. How often it was called."""
    queue: asyncio.Queue[Any] = asyncio.Queue()
    calls: list[int] = []

    async def fetch(_: bytes, __: Any) -> AsyncIterator[bytes]:
        calls.append(1)
        while (answer := await queue.get()) is not None:
            yield answer.SerializeToString()

    server = grpc.aio.server()
    handlers = {"FetchX509SVID": grpc.unary_stream_rpc_method_handler(fetch)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(workload.SERVICE, handlers),))
    server.add_insecure_port(f"unix:{tmp_path / 'agent.sock'}")
    await server.start()
    try:
        yield queue, calls
    finally:
        await server.stop(None)


async def test_a_federated_bundle_has_a_file_of_its_own(
    tmp_path: Path, authorities: dict[TrustDomain, Authority]
) -> None:
    """And is in the bundle of our own domain only where that is asked for."""
    for joined in (False, True):
        async with agent(tmp_path) as (queue, _):
            queue.put_nowait(message(authorities, "/w", federated=True))
            wanted = job(tmp_path, federated={"partner.pem": "partner.org"}, join_federated=joined)
            files = await write_once(wanted, patience=30)
        theirs = x509.load_pem_x509_certificates(files["partner.pem"].data)
        assert [each.public_bytes(Encoding.DER) for each in theirs] == [*authorities[THEIRS].bundle(1).x509_authorities]
        assert (theirs[0] in x509.load_pem_x509_certificates(files["bundle.pem"].data)) is joined


async def test_an_identity_that_is_not_asked_for_is_waited_out(
    tmp_path: Path, authorities: dict[TrustDomain, Authority]
) -> None:
    """On the same stream, without asking again; a bundle that is withdrawn takes its file along."""
    folder = tmp_path / "files"
    wanted = job(tmp_path, spiffe_id="spiffe://example.org/w", federated={"partner.pem": "partner.org"})
    async with agent(tmp_path) as (queue, calls), writing(wanted):
        queue.put_nowait(message(authorities, "/other"))
        queue.put_nowait(message(authorities, "/w", federated=True))
        await until((folder / "partner.pem").read_bytes)
        first = await asyncio.to_thread((folder / "svid.pem").read_bytes)
        san = x509.load_pem_x509_certificate(first).extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert san.value.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://example.org/w"]
        queue.put_nowait(message(authorities, "/other"))
        queue.put_nowait(message(authorities, "/w"))
        await until(lambda: (folder / "svid.pem").read_bytes() != first)
        assert not await asyncio.to_thread((folder / "partner.pem").is_symlink)
        assert len(calls) == 1


async def test_a_broken_message_changes_nothing(tmp_path: Path, authorities: dict[TrustDomain, Authority]) -> None:
    """The stream is opened again, and the next good answer is taken; so it is after the stream's end."""
    cert = tmp_path / "files" / "svid.pem"
    async with agent(tmp_path) as (queue, calls), writing(job(tmp_path)):
        broken = message(authorities, "/w")
        broken.svids[0].x509_svid = b"\x30\x03abcd"
        queue.put_nowait(broken)
        await until(lambda: len(calls) > 1)
        queue.put_nowait(message(authorities, "/w"))
        first = await until(cert.read_bytes)
        queue.put_nowait(None)
        queue.put_nowait(message(authorities, "/w"))
        await until(lambda: cert.read_bytes() != first)
        assert len(calls) == 3


async def test_once_says_that_the_agent_ended_the_stream(tmp_path: Path) -> None:
    """Before any answer: UNAVAILABLE."""
    async with agent(tmp_path) as (queue, _):
        queue.put_nowait(None)
        with pytest.raises(RingfenceError, match="ended the stream", check=lambda e: e.kind is Kind.UNAVAILABLE):
            await write_once(job(tmp_path), patience=30)
