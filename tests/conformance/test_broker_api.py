"""SPIFFE_Broker_API.md by the numbers of the checklist (1.9, lines 7 to 17), a test a rule."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import load_der_private_key
from cryptography.x509 import load_der_x509_certificate

from ringfence.broker.broker_api.allowed import KUBERNETES, PID, Broker
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.proto import broker as wire
from ringfence.proto.client import Client
from tests.broker.agent.harness import OWN_UID, AgentUnderTest, running_agent, wait_for_entries
from tests.broker.broker_api.harness import (
    HEADER,
    PROXY,
    REQUESTS,
    STREAMS,
    Ended,
    broker_config,
    by_pid,
    credential,
    dial,
    ended,
    request,
    shown,
    workload,
)
from tests.broker.server.harness import ServerUnderTest

ID = "spiffe://example.org/ns/a/sa/w"
OTHER = "spiffe://example.org/ns/a/sa/other"
REMOTE = "spiffe://example.org/remote"
NARROW = "spiffe://example.org/narrow"
REFERENCE_INVALID = Ended(grpc.StatusCode.INVALID_ARGUMENT, "WORKLOAD_REFERENCE_INVALID", "spiffe.io")
NOT_FOUND = Ended(grpc.StatusCode.NOT_FOUND, "WORKLOAD_NOT_FOUND", "spiffe.io")
NOT_ENTITLED = Ended(grpc.StatusCode.PERMISSION_DENIED, "WORKLOAD_NOT_ENTITLED", "spiffe.io")


@pytest.fixture
async def agent(tmp_path: Path, server: ServerUnderTest, port: int) -> AsyncIterator[AgentUnderTest]:
    """Its agent, with three brokers: by pid here, by pid from afar too, and by Kubernetes object only."""
    brokers = (
        Broker(SpiffeId.parse(PROXY), {PID: False}),
        Broker(SpiffeId.parse(REMOTE), {PID: True}),
        Broker(SpiffeId.parse(NARROW), {KUBERNETES: True}),
    )
    async with running_agent(tmp_path, server, hold=60, broker=broker_config(tmp_path, *brokers, port=port)) as up:
        wait_for_entries(server, up)
        yield up


@pytest.fixture
async def client(server: ServerUnderTest, socket: Path) -> AsyncIterator[Client]:
    """The node proxy's."""
    async with dial(server, socket, await credential(server)) as broker:
        yield broker.client


@pytest.fixture
async def process(agent: AgentUnderTest) -> AsyncIterator[asyncio.subprocess.Process]:
    """A workload."""
    assert agent.agent is not None
    async with workload() as child:
        yield child


def call_of(client: Client, method: str, reference: Any = None, **fields: Any) -> Any:
    """A call of *method* about *reference*."""
    return getattr(client, method)(request(method, reference, **fields), metadata=HEADER)


async def _ended(call: Any) -> Ended:
    """How it ended, the words left out."""
    found = await ended(call)
    return Ended(found.code, found.reason, found.domain)


async def test_1_9_7_the_four_methods_and_no_other() -> None:
    """1.9.7: nothing is added to the service, nothing changed; other kinds of reference would be types of their own."""
    assert [method.name for method in wire.DESCRIPTOR.methods] == [
        "SubscribeToX509SVID",
        "SubscribeToX509Bundles",
        "FetchJWTSVID",
        "SubscribeToJWTBundles",
    ]


@pytest.mark.parametrize("method", sorted(REQUESTS))
async def test_1_9_8_a_request_names_exactly_one_workload(client: Client, method: str) -> None:
    """1.9.8: without a reference, InvalidArgument; an Any without a type is none."""
    assert await _ended(call_of(client, method)) == REFERENCE_INVALID
    empty = request(method, reference=None)
    empty.reference.SetInParent()
    assert await _ended(getattr(client, method)(empty, metadata=HEADER)) == REFERENCE_INVALID


@pytest.mark.parametrize(
    "type_url",
    [
        "type.googleapis.com/spiffe.broker.KubernetesObjectReference",  # this agent speaks to no Kubernetes
        "type.googleapis.com/spiffe.broker.WorkloadReference",
        "type.googleapis.com/vendor.Selectors",
        "example.org/spiffe.broker.WorkloadPIDReference",
        "spiffe.broker.WorkloadPIDReference",
    ],
)
async def test_1_9_8_an_unknown_type_of_reference_is_invalid(client: Client, type_url: str) -> None:
    """1.9.8 and 10: InvalidArgument, by the whole type URL."""
    asked = request("FetchJWTSVID", by_pid(os.getpid()))
    asked.reference.reference.type_url = type_url
    assert await _ended(client.FetchJWTSVID(asked, metadata=HEADER)) == REFERENCE_INVALID


async def test_1_9_8_a_reference_that_does_not_parse_is_invalid(client: Client) -> None:
    """1.9.8: bytes that are no message of the type that they are said to be."""
    asked = request("FetchJWTSVID", by_pid(1))
    asked.reference.reference.value = b"\xff"
    assert await _ended(client.FetchJWTSVID(asked, metadata=HEADER)) == REFERENCE_INVALID


async def test_1_9_8_the_agent_attests_what_is_named(server: ServerUnderTest, client: Client) -> None:
    """1.9.8: of two processes of one user each gets what its own executable is entitled to; nothing else counts."""
    cat_path = await asyncio.to_thread(os.path.realpath, "/bin/cat")
    await server.create_entry(ID, f"unix:path:{cat_path}")
    async with workload("/bin/cat") as cat, workload("/bin/sleep", "60") as sleep:
        call = call_of(client, "SubscribeToX509SVID", by_pid(cat.pid))
        assert [svid.spiffe_id for svid in (await call.read()).svids] == [ID]
        call.cancel()
        assert await _ended(call_of(client, "SubscribeToX509SVID", by_pid(sleep.pid))) == NOT_ENTITLED


async def test_1_9_9_pids_are_for_brokers_of_this_node(
    server: ServerUnderTest, port: int, socket: Path, process: asyncio.subprocess.Process
) -> None:
    """1.9.9: over TCP a pid is refused, unless the operator said for this broker that it comes from this node."""
    await server.create_entry(ID, OWN_UID)
    for broker_id, at, code in (
        (PROXY, port, grpc.StatusCode.PERMISSION_DENIED),
        (REMOTE, port, grpc.StatusCode.OK),
        (REMOTE, socket, grpc.StatusCode.OK),
    ):
        async with dial(server, at, await credential(server, broker_id)) as broker:
            found = await ended(call_of(broker.client, "FetchJWTSVID", by_pid(process.pid)))
            assert found.code is code, (broker_id, at)


@pytest.mark.parametrize("pid", [0, -1, -(2**31)])
async def test_1_9_10_a_pid_is_positive(client: Client, pid: int) -> None:
    """1.9.10: 0 and negative pids name no process: InvalidArgument."""
    assert await _ended(call_of(client, "FetchJWTSVID", by_pid(pid))) == REFERENCE_INVALID


async def test_1_9_11_a_broker_may_use_the_types_that_are_listed_for_it(
    server: ServerUnderTest, socket: Path, process: asyncio.subprocess.Process
) -> None:
    """1.9.11: whoever may name Kubernetes objects may not therefore name pids."""
    await server.create_entry(ID, OWN_UID)
    async with dial(server, socket, await credential(server, NARROW)) as broker:
        found = await ended(call_of(broker.client, "FetchJWTSVID", by_pid(process.pid)))
    assert found.code is grpc.StatusCode.PERMISSION_DENIED


async def test_1_9_12_each_call_is_about_one_workload(server: ServerUnderTest, client: Client) -> None:
    """1.9.12: two streams of one broker, on one connection, each show their own workload's documents alone."""
    commands = {ID: ("/bin/cat",), OTHER: ("/bin/sleep", "60")}
    for spiffe_id, (program, *_) in commands.items():
        await server.create_entry(spiffe_id, f"unix:path:{await asyncio.to_thread(os.path.realpath, program)}")
    async with workload(*commands[ID]) as one, workload(*commands[OTHER]) as other:
        calls = [call_of(client, "SubscribeToX509SVID", by_pid(child.pid)) for child in (one, other)]
        answers = [await call.read() for call in calls]
        for call in calls:
            call.cancel()
    assert [[svid.spiffe_id for svid in answer.svids] for answer in answers] == [[ID], [OTHER]]


async def test_1_9_13_a_change_is_pushed_as_the_whole_state(
    server: ServerUnderTest, client: Client, process: asyncio.subprocess.Process
) -> None:
    """1.9.13: the first message comes at once; a new entry brings a message with all SVIDs."""
    await server.create_entry(ID, OWN_UID)
    call = call_of(client, "SubscribeToX509SVID", by_pid(process.pid))
    assert [svid.spiffe_id for svid in (await call.read()).svids] == [ID]
    await server.create_entry(OTHER, OWN_UID)
    await shown(call, ID, OTHER)
    call.cancel()


async def test_1_9_14_a_process_that_is_not_there_is_not_found(client: Client) -> None:
    """1.9.14: NotFound with its reason, a zombie included."""
    async with workload("/bin/true") as process:
        await process.wait()
        for pid in (process.pid, 2**31 - 1):
            assert await _ended(call_of(client, "SubscribeToX509SVID", by_pid(pid))) == NOT_FOUND


@pytest.mark.parametrize("method", sorted(REQUESTS))
async def test_1_9_14_a_workload_without_identity_is_denied_at_once(
    client: Client, process: asyncio.subprocess.Process, method: str
) -> None:
    """1.9.14: PermissionDenied with its reason, and no wait: it is the workload that would wait, not its proxy."""
    async with asyncio.timeout(30):  # less than the agent holds a caller of the Workload API
        assert await _ended(call_of(client, method, by_pid(process.pid))) == NOT_ENTITLED


async def test_1_9_14_a_token_for_an_identity_of_others_is_denied(
    server: ServerUnderTest, client: Client, process: asyncio.subprocess.Process
) -> None:
    """1.9.14 and 17: spiffe_id is honoured: a workload's other identity is given, another's is denied."""
    await server.create_entry(ID, OWN_UID)
    call = call_of(client, "FetchJWTSVID", by_pid(process.pid), spiffe_id=OTHER)
    assert await _ended(call) == NOT_ENTITLED


async def test_1_9_14_the_agent_is_no_workload(agent: AgentUnderTest, server: ServerUnderTest, client: Client) -> None:
    """1.9.14: whatever entries match the agent's own process, nobody gets them for it."""
    assert agent.agent is not None
    await server.create_entry(ID, OWN_UID)
    assert await _ended(call_of(client, "SubscribeToX509SVID", by_pid(os.getpid()))) == NOT_ENTITLED


@pytest.mark.parametrize("method", STREAMS)
async def test_1_9_14_a_withdrawn_identity_ends_the_stream(
    server: ServerUnderTest, client: Client, process: asyncio.subprocess.Process, method: str
) -> None:
    """1.9.14: with PermissionDenied and its reason."""
    entry = await server.create_entry(ID, OWN_UID)
    call = call_of(client, method, by_pid(process.pid))
    assert await call.read()
    await server.delete_entry(entry.id)
    assert await _ended(call) == NOT_ENTITLED


@pytest.mark.parametrize(
    ("audience", "spiffe_id"), [([], ""), ([""], ""), (["db", ""], ""), (["db"], "not an id"), (["db"], "spiffe://")]
)
async def test_1_9_14_fields_are_held_against_the_standard(
    client: Client, process: asyncio.subprocess.Process, audience: list[str], spiffe_id: str
) -> None:
    """1.9.13, with 1.6.4: an empty audience and a malformed ID are InvalidArgument."""
    call = call_of(client, "FetchJWTSVID", by_pid(process.pid), audience=audience, spiffe_id=spiffe_id)
    assert (await ended(call)).code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("method", STREAMS)
async def test_1_9_15_a_stream_ends_when_the_process_does(
    server: ServerUnderTest, client: Client, process: asyncio.subprocess.Process, method: str
) -> None:
    """1.9.15: NotFound as soon as the process has exited, although nothing else changes."""
    await server.create_entry(ID, OWN_UID)
    call = call_of(client, method, by_pid(process.pid))
    assert await call.read()
    process.kill()
    async with asyncio.timeout(20):
        assert await _ended(call) == NOT_FOUND


async def test_1_9_15_nothing_is_sent_once_the_process_runs_another_program(
    server: ServerUnderTest, client: Client
) -> None:
    """1.9.15: an exec keeps the pid; the next change is not for what the process has become."""
    await server.create_entry(ID, OWN_UID)
    async with workload("/bin/sh", "-c", "read line; exec /bin/cat") as process:
        call = call_of(client, "SubscribeToX509SVID", by_pid(process.pid))
        assert await call.read()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"go\nrunning\n")
        assert await process.stdout.readline() == b"running\n"
        await server.create_entry(OTHER, OWN_UID)
        assert await _ended(call) == NOT_FOUND


async def test_1_9_16_svids_are_one_or_more_and_hints_unique(
    server: ServerUnderTest, client: Client, process: asyncio.subprocess.Process
) -> None:
    """1.9.16: encoded as in the Workload API, of entries that share a hint the oldest keeps it."""
    await server.create_entry(ID, OWN_UID, hint="internal")
    await server.create_entry(OTHER, OWN_UID, hint="internal")
    call = call_of(client, "SubscribeToX509SVID", by_pid(process.pid))
    answer = await shown(call, ID, OTHER)
    call.cancel()
    assert [svid.hint for svid in answer.svids] == ["internal", ""]
    leaf = load_der_x509_certificate(answer.svids[0].x509_svid)
    assert leaf.public_key() == load_der_private_key(answer.svids[0].x509_svid_key, None).public_key()
    assert load_der_x509_certificate(answer.svids[0].bundle).subject == leaf.issuer


async def test_1_9_16_bundles_are_by_document_and_of_the_workload(
    server: ServerUnderTest, client: Client, process: asyncio.subprocess.Process
) -> None:
    """1.9.16: X.509 authorities in one answer, keys for JWT-SVIDs alone in the other, by the trust domain's ID."""
    await server.create_entry(ID, OWN_UID)
    x509 = await call_of(client, "SubscribeToX509Bundles", by_pid(process.pid)).read()
    jwt = await call_of(client, "SubscribeToJWTBundles", by_pid(process.pid)).read()
    bundle = await server.bundle()
    assert dict(x509.bundles) == {"spiffe://example.org": bundle.x509_der()}
    assert dict(jwt.bundles) == {"spiffe://example.org": bundle.jwks()}
    assert {key["use"] for key in json.loads(jwt.bundles["spiffe://example.org"])["keys"]} == {"jwt-svid"}


async def test_1_9_17_the_identity_that_is_asked_for_is_given(
    server: ServerUnderTest, client: Client, process: asyncio.subprocess.Process
) -> None:
    """1.9.17: FetchJWTSVID gives one token an identity, or that of spiffe_id alone, for all audiences."""
    await server.create_entry(ID, OWN_UID)
    await server.create_entry(OTHER, OWN_UID)
    both = await call_of(client, "FetchJWTSVID", by_pid(process.pid))
    assert sorted(svid.spiffe_id for svid in both.svids) == sorted([ID, OTHER])
    one = await call_of(client, "FetchJWTSVID", by_pid(process.pid), spiffe_id=OTHER, audience=["db", "cache"])
    assert [svid.spiffe_id for svid in one.svids] == [OTHER]
