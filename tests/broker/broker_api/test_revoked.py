"""Revocation at the Broker API: of the workload, of the broker, and of the broker's certificate alone."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_private_key

from ringfence.admin.v1 import admin_pb2 as admin
from ringfence.broker.agent.svids import HeldSvid
from ringfence.broker.run.identity import split_der
from ringfence.certs.revocation import serial_of
from ringfence.certs.spiffe_id import SpiffeId
from tests.broker.agent.harness import AgentUnderTest, first_svids, running_agent
from tests.broker.broker_api.harness import (
    HEADER,
    PROXY,
    Ended,
    broker_config,
    broker_socket,
    by_pid,
    dial,
    ended,
    request,
    workload,
)
from tests.broker.server.harness import ServerUnderTest, running_server

ID = "spiffe://example.org/ns/a/sa/w"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerUnderTest]:
    """A server with entries for us, the broker, and for the workload."""
    async with running_server(tmp_path) as running:
        for spiffe_id, program in ((PROXY, sys.executable), (ID, "/bin/cat")):
            await running.create_entry(spiffe_id, f"unix:path:{await asyncio.to_thread(os.path.realpath, program)}")
        yield running


@pytest.fixture
async def agent(tmp_path: Path, server: ServerUnderTest) -> AsyncIterator[AgentUnderTest]:
    """Its agent."""
    async with running_agent(tmp_path, server, broker=broker_config(tmp_path)) as up:
        yield up


async def _own(agent: AgentUnderTest) -> HeldSvid:
    """Our SVID, as the agent gives it to us."""
    svid = (await first_svids(agent.socket)).svids[0]
    key = load_der_private_key(svid.x509_svid_key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return HeldSvid.of(split_der(svid.x509_svid), key, SpiffeId.parse(svid.spiffe_id), 0)


async def _ended(server: ServerUnderTest, socket: Path, own: HeldSvid, **revoked: Any) -> tuple[Ended, Ended]:
    """How an open stream ends when *revoked* is, and a call on the next connection."""
    async with workload() as process:
        async with dial(server, socket, own) as broker:
            asked = request("SubscribeToX509SVID", by_pid(process.pid))
            call = broker.client.SubscribeToX509SVID(asked, metadata=HEADER)
            assert [svid.spiffe_id for svid in (await call.read()).svids] == [ID]
            await server.admin.RevokeIdentities(admin.RevokeIdentitiesRequest(**revoked))
            async with asyncio.timeout(20):
                first = await ended(call)
        async with dial(server, socket, own) as broker:
            second = broker.client.FetchJWTSVID(request("FetchJWTSVID", by_pid(process.pid)), metadata=HEADER)
            return first, await ended(second)


async def test_a_revoked_workload_has_no_identity(
    tmp_path: Path, server: ServerUnderTest, agent: AgentUnderTest
) -> None:
    """The stream ends, and a new call is refused, both with the reason that the standard has."""
    found = await _ended(server, broker_socket(tmp_path), await _own(agent), spiffe_ids=[ID])
    assert {(one.code, one.reason) for one in found} == {
        (grpc.StatusCode.PERMISSION_DENIED, "WORKLOAD_NOT_ENTITLED"),
    }


async def test_a_revoked_broker_is_none(tmp_path: Path, server: ServerUnderTest, agent: AgentUnderTest) -> None:
    """Its connection ends at once, although the workload's stream had nothing new to show."""
    found = await _ended(server, broker_socket(tmp_path), await _own(agent), spiffe_ids=[PROXY])
    assert {(one.code, one.reason) for one in found} == {(grpc.StatusCode.PERMISSION_DENIED, "")}


async def test_a_revoked_certificate_opens_nothing(
    tmp_path: Path, server: ServerUnderTest, agent: AgentUnderTest
) -> None:
    """The broker itself is not revoked: with its next certificate it is served."""
    own = await _own(agent)
    found = await _ended(server, broker_socket(tmp_path), own, serials=[serial_of(own.serial)])
    assert {one.code for one in found} == {grpc.StatusCode.UNAUTHENTICATED}
    async with asyncio.timeout(20):
        while (again := await _own(agent)).serial == own.serial:
            pass  # the agent has not got its next one yet
    async with workload() as process, dial(server, broker_socket(tmp_path), again) as broker:
        call = broker.client.FetchJWTSVID(request("FetchJWTSVID", by_pid(process.pid)), metadata=HEADER)
        assert (await ended(call)).code is grpc.StatusCode.OK
