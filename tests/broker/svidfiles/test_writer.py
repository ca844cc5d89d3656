"""The writer against a real agent: once, kept up to date, and while the agent is away."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from ringfence.broker.svidfiles.contents import token_life
from ringfence.broker.svidfiles.notify import Hook
from ringfence.broker.svidfiles.writer import Pauses, write_once
from ringfence.certs.errors import Kind, RingfenceError
from tests.broker.agent.harness import OWN_UID, running_agent
from tests.broker.server.harness import running_server
from tests.broker.svidfiles.harness import ID, SOON, job, load, until, world, writing

AWAY = "no news from the agent; the files stay"


async def test_once_writes_everything(tmp_path: Path) -> None:
    """Certificate, key, bundle, both in one, a token; a client library loads them all."""
    async with world(tmp_path):
        files = await write_once(job(tmp_path, combined="all.pem", jwt={"db.token": "db"}), patience=30)
    assert files.keys() == {"svid.pem", "key.pem", "bundle.pem", "all.pem", "db.token"}
    await asyncio.to_thread(load, tmp_path / "files")
    context = ssl.create_default_context(cafile=tmp_path / "files" / "bundle.pem")
    await asyncio.to_thread(context.load_cert_chain, tmp_path / "files" / "all.pem")  # as requests does: one PEM
    token_life((tmp_path / "files" / "db.token").read_text())


@pytest.mark.parametrize(
    ("wanted", "kind"),
    [
        ({"spiffe_id": "spiffe://example.org/other"}, Kind.DENIED),
        ({"federated": {"b.pem": "other.org"}}, Kind.NOT_FOUND),
    ],
)
async def test_once_writes_nothing_when_something_is_missing(tmp_path: Path, wanted: Any, kind: Kind) -> None:
    """An identity or a bundle that the agent does not give is an error, and no half set is left."""
    async with world(tmp_path):
        with pytest.raises(RingfenceError, check=lambda error: error.kind is kind):
            await write_once(job(tmp_path, **wanted), patience=30)
    assert not await asyncio.to_thread((tmp_path / "files").exists)


async def test_once_says_that_the_agent_is_away(tmp_path: Path) -> None:
    """UNAVAILABLE, with the socket's name."""
    with pytest.raises(RingfenceError, match=r"agent\.sock", check=lambda error: error.kind is Kind.UNAVAILABLE):
        await write_once(job(tmp_path), patience=30)


@pytest.mark.slow
async def test_a_renewal_replaces_the_files_and_tells_the_program(tmp_path: Path) -> None:
    """At half-life the agent pushes a new SVID: new files, then the command, which sees them."""
    log = tmp_path / "told"
    code = f"print(open({str(tmp_path / 'files/svid.pem')!r}).read(), file=open({str(log)!r}, 'a'))"
    async with world(tmp_path, x509_ttl=SOON), writing(job(tmp_path, Hook(command=(sys.executable, "-c", code)))):
        first = await until((tmp_path / "files" / "svid.pem").read_text)
        await until(lambda: (tmp_path / "files" / "svid.pem").read_text() != first)
        await asyncio.to_thread(load, tmp_path / "files")
        told = await until(lambda: log.read_text().count("BEGIN CERTIFICATE") >= 2 and log.read_text())
    assert told.startswith(first)


@pytest.mark.slow
async def test_a_token_is_renewed_at_half_life(tmp_path: Path) -> None:
    """The certificate's file stays as it is in the meantime."""
    async with world(tmp_path, jwt_ttl=2), writing(job(tmp_path, jwt={"db.token": "db"})):
        first = await until((tmp_path / "files" / "db.token").read_text)
        svid = (tmp_path / "files" / "svid.pem").read_text()
        await until(lambda: (tmp_path / "files" / "db.token").read_text() != first)
        assert (tmp_path / "files" / "svid.pem").read_text() == svid


async def test_a_token_that_is_refused_does_not_hold_up_the_certificate(tmp_path: Path) -> None:
    """Each document is kept by itself; the missing file is simply not there."""
    async with running_server(tmp_path) as server:
        await server.create_entry(ID, OWN_UID)
        async with running_agent(tmp_path, server):
            await write_once(job(tmp_path), patience=30)
        address = server.address
    # The agent holds the certificate, and has no server that would sign a token.
    cert = tmp_path / "again" / "svid.pem"
    async with (
        running_agent(tmp_path, None, address=address, joined=True),
        writing(replace(job(tmp_path, jwt={"db.token": "db"}), folder=cert.parent)),
    ):
        await until(cert.read_text)
    assert not await asyncio.to_thread((cert.parent / "db.token").exists)


@pytest.mark.slow
async def test_an_agent_that_goes_away_takes_no_files_with_it(tmp_path: Path) -> None:
    """They stay, and are renewed once there is an agent again."""
    cert = tmp_path / "files" / "svid.pem"
    async with running_server(tmp_path) as server, writing(job(tmp_path)):
        await server.create_entry(ID, OWN_UID, x509_ttl=SOON)
        async with running_agent(tmp_path, server):
            first = await until(cert.read_text)
        assert await asyncio.to_thread(cert.read_text) == first
        await asyncio.to_thread(load, cert.parent)
        async with running_agent(tmp_path, server, joined=True):
            await until(lambda: cert.read_text() != first)


def test_pauses_grow_to_a_bound() -> None:
    """Ten failures are not a busy loop, an hour of them is still a try every few seconds."""
    pauses = Pauses(lambda: 0.5)
    waited = [pauses.next() for _ in range(12)]
    assert waited[:3] == [0.1, 0.2, 0.4]
    assert waited[-1] == 15.0
    pauses.reset()
    assert pauses.next() == 0.1


async def test_grpc_takes_the_files(tmp_path: Path) -> None:
    """Mutual TLS of grpc, as Ray and Triton set it up, from the files alone."""
    async with world(tmp_path):
        await write_once(job(tmp_path), patience=30)
    key, chain, roots = [
        await asyncio.to_thread((tmp_path / "files" / name).read_bytes)
        for name in ("key.pem", "svid.pem", "bundle.pem")
    ]

    async def echo(request: bytes, _: Any) -> bytes:
        return request

    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.T", {"Echo": method}),))
    port = server.add_secure_port(
        "127.0.0.1:0", grpc.ssl_server_credentials([(key, chain)], roots, require_client_auth=True)
    )
    await server.start()
    try:
        credentials = grpc.ssl_channel_credentials(roots, key, chain)
        options = (("grpc.ssl_target_name_override", "localhost"),)
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options) as channel:
            assert await channel.unary_unary("/t.T/Echo")(b"x", timeout=30) == b"x"
    finally:
        await server.stop(None)


def _told(log: Path) -> list[dict[str, Any]]:
    """The whole lines of a log that is being written."""
    return [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]


@pytest.mark.e2e
@pytest.mark.slow
async def test_the_daemon_outlives_its_agent_says_so_and_ends_on_sigterm(tmp_path: Path) -> None:
    """As the command line starts it; its log says what it holds, and holds no secret."""
    folder, said = tmp_path / "files", tmp_path / "log"
    command = ("svid", "write", "--daemon", "--socket", str(tmp_path / "agent.sock"), "--dir", str(folder))
    async with running_server(tmp_path) as server:
        with said.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "ringfence.broker.cli", *command, "--jwt", "db=db.token"), stderr=log
            )
        await until(lambda: "no answer" in said.read_text())  # it waits for an agent that is not there yet
        async with running_agent(tmp_path, server):
            await server.create_entry(ID, OWN_UID)
            await until((folder / "db.token").read_text)
            await until(lambda: "files written" in said.read_text())
        lost = await until(lambda: [line for line in _told(said) if line["msg"] == AWAY and "spiffe_id" in line])
    assert (lost[0]["spiffe_id"], lost[0]["folder"]) == (ID, str(folder))
    load(folder)
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(30):
        assert await process.wait() == 0
    text = said.read_text()
    assert "the files stay" in text.splitlines()[-1]
    assert (folder / "key.pem").read_text().splitlines()[1] not in text
    assert (folder / "db.token").read_text() not in text
