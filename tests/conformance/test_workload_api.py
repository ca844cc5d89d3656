"""The Workload API against standards: SPIFFE_Workload_Endpoint.md and SPIFFE_Workload_API.md, a test a rule."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from cryptography.hazmat.primitives.serialization import load_der_private_key
from cryptography.x509 import load_der_x509_certificate

from ringfence.proto import workload
from ringfence.proto.client import Client
from tests.broker.agent.harness import (
    HEADER,
    OWN_UID,
    AgentUnderTest,
    first_svids,
    running_agent,
    status_of,
    workload_client,
)
from tests.broker.broker_api.harness import shown
from tests.broker.server.harness import ServerUnderTest

ID = "spiffe://example.org/ns/a/sa/w"
OTHER = "spiffe://example.org/ns/a/sa/other"
STREAMS = ("FetchX509SVID", "FetchX509Bundles", "FetchJWTBundles")
REQUESTS: dict[str, Any] = {
    "FetchX509SVID": workload.X509SVIDRequest(),
    "FetchX509Bundles": workload.X509BundlesRequest(),
    "FetchJWTBundles": workload.JWTBundlesRequest(),
    "FetchJWTSVID": workload.JWTSVIDRequest(audience=["db"]),
    "ValidateJWTSVID": workload.ValidateJWTSVIDRequest(audience="db", svid="x"),
}


async def _code(call: Any) -> grpc.StatusCode:
    if hasattr(call, "read"):
        return (await status_of(call))[0]
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def _refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


@pytest.mark.parametrize("method", sorted(REQUESTS))
@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("workload.spiffe.io", "True"),),
        (("workload.spiffe.io", "false"),),
        (("workload.spiffe.io", "true"), ("workload.spiffe.io", "true")),
    ],
)
async def test_1_5_2_every_call_needs_the_security_header(
    server: ServerUnderTest, client: Client, method: str, metadata: tuple[tuple[str, str], ...]
) -> None:
    """Endpoint 3: without exactly one `workload.spiffe.io: true` the answer is InvalidArgument."""
    await server.create_entry(ID, OWN_UID)
    assert await _code(getattr(client, method)(REQUESTS[method], metadata=metadata)) is (
        grpc.StatusCode.INVALID_ARGUMENT
    )


async def test_1_5_6_an_unknown_method_is_unimplemented(agent: AgentUnderTest) -> None:
    """Endpoint 6 and API 7: the WIT methods, which are not served, say Unimplemented."""
    async with grpc.aio.insecure_channel(f"unix:{agent.socket}") as channel:
        call = channel.unary_stream("/SpiffeWorkloadAPI/FetchWITSVID")(b"", metadata=HEADER)
        assert await _code(call) is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("hold", [0.5])
@pytest.mark.parametrize("method", sorted(set(REQUESTS)))
async def test_1_5_6_a_stranger_is_denied_after_the_hold(client: Client, method: str) -> None:
    """Endpoint 6: a workload without identity gets PermissionDenied, once the bounded wait is over."""
    assert await _code(getattr(client, method)(REQUESTS[method], metadata=HEADER)) is grpc.StatusCode.PERMISSION_DENIED


async def test_1_6_2_a_workload_that_comes_before_its_entry_waits(server: ServerUnderTest, client: Client) -> None:
    """A stream that is held gets its SVID as soon as the entry is there, without a second try."""
    call = client.FetchX509SVID(workload.X509SVIDRequest(), metadata=HEADER)
    waiting = asyncio.create_task(call.read())
    await asyncio.sleep(0)
    await server.create_entry(ID, OWN_UID)
    answer = await waiting
    call.cancel()
    assert [svid.spiffe_id for svid in answer.svids] == [ID]


async def test_1_6_9_an_svid_is_der_and_its_key_pkcs8(server: ServerUnderTest, agent: AgentUnderTest) -> None:
    """API 5.2.1: chain and bundle are concatenated DER, the key is unencrypted PKCS #8 DER and fits the leaf."""
    await server.create_entry(ID, OWN_UID)
    svid = (await first_svids(agent.socket)).svids[0]
    leaf = load_der_x509_certificate(svid.x509_svid)
    key = load_der_private_key(svid.x509_svid_key, None)
    assert leaf.public_key() == key.public_key()
    assert load_der_x509_certificate(svid.bundle).subject == leaf.issuer


async def test_1_6_7_hints_are_unique_and_the_oldest_entry_comes_first(
    server: ServerUnderTest, agent: AgentUnderTest
) -> None:
    """API 5.2.1 and 8: of entries that share a hint the oldest keeps it; the default identity is stable."""
    await server.create_entry(OTHER, OWN_UID, hint="internal")
    await server.create_entry(ID, OWN_UID, f"unix:gid:{os.getegid()}", hint="internal")
    async with asyncio.timeout(20):
        while len((answer := await first_svids(agent.socket)).svids) < 2:
            pass
    ids = [svid.spiffe_id for svid in answer.svids]
    assert sorted(ids) == sorted([ID, OTHER])
    assert [svid.hint for svid in answer.svids] == ["internal", ""]
    again = await first_svids(agent.socket)
    assert [svid.spiffe_id for svid in again.svids] == ids


async def test_1_6_2_a_change_is_pushed_as_the_whole_state(server: ServerUnderTest, client: Client) -> None:
    """API 4.3: every message on a stream is complete; a new entry brings a message with all SVIDs."""
    await server.create_entry(ID, OWN_UID)
    call = client.FetchX509SVID(workload.X509SVIDRequest(), metadata=HEADER)
    assert len((await call.read()).svids) == 1
    await server.create_entry(OTHER, OWN_UID)
    await shown(call, ID, OTHER)
    call.cancel()


@pytest.mark.parametrize("method", STREAMS)
async def test_1_6_6_a_withdrawn_identity_ends_the_stream(server: ServerUnderTest, client: Client, method: str) -> None:
    """API 5.2.1: when the entitlement is withdrawn the stream ends with PermissionDenied."""
    entry = await server.create_entry(ID, OWN_UID)
    call = getattr(client, method)(REQUESTS[method], metadata=HEADER)
    assert await call.read()
    await server.delete_entry(entry.id)
    assert await _code(call) is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("method", STREAMS)
async def test_1_5_6_a_shutdown_ends_streams_with_unavailable(
    tmp_path: Path, server: ServerUnderTest, method: str
) -> None:
    """A stream that ends through no fault of the caller ends with Unavailable, never OK: clients come back."""
    await server.create_entry(ID, OWN_UID)
    async with workload_client(tmp_path / "agent.sock") as client:
        async with running_agent(tmp_path, server):
            call = getattr(client, method)(REQUESTS[method], metadata=HEADER)
            assert await call.read()
        assert await _code(call) is grpc.StatusCode.UNAVAILABLE


async def test_1_6_8_x509_bundles_are_named_by_the_trust_domains_id(server: ServerUnderTest, client: Client) -> None:
    """API 5.2.2: the bundles hold our own domain's, by its SPIFFE ID."""
    await server.create_entry(ID, OWN_UID)
    call = client.FetchX509Bundles(workload.X509BundlesRequest(), metadata=HEADER)
    answer = await call.read()
    call.cancel()
    bundle = await server.bundle()
    assert dict(answer.bundles) == {"spiffe://example.org": bundle.x509_der()}


async def test_1_6_12_jwt_bundles_hold_jwt_keys_only(server: ServerUnderTest, client: Client) -> None:
    """API 6.2.2: a JWKS whose keys are all for JWT-SVIDs and have a key id."""
    await server.create_entry(ID, OWN_UID)
    call = client.FetchJWTBundles(workload.JWTBundlesRequest(), metadata=HEADER)
    answer = await call.read()
    call.cancel()
    keys = json.loads(answer.bundles["spiffe://example.org"])["keys"]
    assert keys
    assert all(key["use"] == "jwt-svid" and key["kid"] for key in keys)


async def test_1_6_11_a_token_is_for_all_audiences_and_validates(server: ServerUnderTest, client: Client) -> None:
    """API 6.2.1 and 6.2.3: a token embeds every audience asked for; validation returns its claims, aud as a list."""
    await server.create_entry(ID, OWN_UID)
    request = workload.JWTSVIDRequest(audience=["db", "cache"])
    token = (await client.FetchJWTSVID(request, metadata=HEADER)).svids[0]
    assert token.spiffe_id == ID
    question = workload.ValidateJWTSVIDRequest(audience="cache", svid=token.svid)
    answer = await client.ValidateJWTSVID(question, metadata=HEADER)
    assert answer.spiffe_id == ID
    assert answer.claims["sub"] == ID
    assert sorted(answer.claims["aud"]) == ["cache", "db"]
    assert answer.claims["exp"] > 0


async def test_1_6_11_one_token_per_identity_unless_one_is_named(server: ServerUnderTest, client: Client) -> None:
    """API 6.2.1: no spiffe_id means every identity, a spiffe_id that one alone."""
    await server.create_entry(ID, OWN_UID)
    await server.create_entry(OTHER, OWN_UID)
    named = workload.JWTSVIDRequest(audience=["db"], spiffe_id=OTHER)
    assert [s.spiffe_id for s in (await client.FetchJWTSVID(named, metadata=HEADER)).svids] == [OTHER]
    answer = await client.FetchJWTSVID(workload.JWTSVIDRequest(audience=["db"]), metadata=HEADER)
    assert sorted(svid.spiffe_id for svid in answer.svids) == sorted([ID, OTHER])


@pytest.mark.parametrize("hold", [0.5])
async def test_1_6_11_a_token_for_an_identity_of_others_is_denied(server: ServerUnderTest, client: Client) -> None:
    """API 6.2.1: a spiffe_id that the caller is not entitled to is PermissionDenied."""
    await server.create_entry(ID, OWN_UID)
    request = workload.JWTSVIDRequest(audience=["db"], spiffe_id=OTHER)
    error = await _refused(client.FetchJWTSVID(request, metadata=HEADER))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("FetchJWTSVID", workload.JWTSVIDRequest()),
        ("FetchJWTSVID", workload.JWTSVIDRequest(audience=[""])),
        ("FetchJWTSVID", workload.JWTSVIDRequest(audience=["db"], spiffe_id="not an id")),
        ("ValidateJWTSVID", workload.ValidateJWTSVIDRequest(svid="x")),
        ("ValidateJWTSVID", workload.ValidateJWTSVIDRequest(audience="db")),
        ("ValidateJWTSVID", workload.ValidateJWTSVIDRequest(audience="db", svid="no token")),
    ],
)
async def test_1_6_4_defaults_in_mandatory_fields_are_invalid(
    server: ServerUnderTest, client: Client, method: str, request_: Any
) -> None:
    """API 4.5: an empty mandatory field, a malformed ID and an invalid token are InvalidArgument."""
    await server.create_entry(ID, OWN_UID)
    error = await _refused(getattr(client, method)(request_, metadata=HEADER))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_1_6_13_a_token_for_another_audience_is_invalid(server: ServerUnderTest, client: Client) -> None:
    """API 6.2.3: validation holds the audience."""
    await server.create_entry(ID, OWN_UID)
    token = (await client.FetchJWTSVID(workload.JWTSVIDRequest(audience=["db"]), metadata=HEADER)).svids[0].svid
    question = workload.ValidateJWTSVIDRequest(audience="other", svid=token)
    assert (await _refused(client.ValidateJWTSVID(question, metadata=HEADER))).code() is (
        grpc.StatusCode.INVALID_ARGUMENT
    )


@pytest.mark.parametrize("method", ["FetchWITSVID", "FetchWITBundles"])
async def test_1_6_14_wit_calls_are_unimplemented_without_the_feature(client: Client, method: str) -> None:
    """SPIFFE_Workload_API.md section 7: clients learn from it not to come back."""
    request = workload.WITSVIDRequest() if method == "FetchWITSVID" else workload.WITBundlesRequest()
    assert await _code(getattr(client, method)(request, metadata=HEADER)) is grpc.StatusCode.UNIMPLEMENTED
