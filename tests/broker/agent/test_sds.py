"""Secrets as Envoy asks for them, by the names that SPIRE's agent serves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest

from ringfence.xds.codec import message
from ringfence.xds.types import SECRET
from tests.broker.agent.harness import OWN_UID, running_agent
from tests.broker.agent.sds import end_of, sds, secrets_of
from tests.broker.server.harness import ServerUnderTest, running_server

ID = "spiffe://example.org/ns/a/sa/w"
OTHER = "spiffe://example.org/ns/a/sa/other"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerUnderTest]:
    """A server."""
    async with running_server(tmp_path) as running:
        yield running


@pytest.fixture
def hold() -> float:
    """Seconds for which it holds a caller without identity: longer than any push; tests of refusals say less."""
    return 20.0


@pytest.fixture
async def channel(tmp_path: Path, server: ServerUnderTest, hold: float) -> AsyncIterator[grpc.aio.Channel]:
    """A connection to its agent."""
    async with running_agent(tmp_path, server, hold=hold) as agent:
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with grpc.aio.insecure_channel(f"unix:{agent.socket}", options=options) as made:
            yield made


@pytest.mark.parametrize("name", [ID, "default"])
async def test_a_certificate_by_id_or_default(server: ServerUnderTest, channel: grpc.aio.Channel, name: str) -> None:
    """A SPIFFE ID, or `default`, names a certificate and its PKCS #8 key in PEM, under the name that was asked."""
    await server.create_entry(ID, OWN_UID)
    stream = sds(channel, "StreamSecrets")()
    await stream.write({"resource_names": [name], "type_url": SECRET})
    secret = secrets_of(await stream.read())[name]
    stream.cancel()
    assert secret.tls_certificate.certificate_chain.inline_bytes.startswith(b"-----BEGIN CERTIFICATE-----")
    assert secret.tls_certificate.private_key.inline_bytes.startswith(b"-----BEGIN PRIVATE KEY-----")


@pytest.mark.parametrize("names", [["spiffe://example.org"], ["ROOTCA"], ["ALL"], ["ROOTCA", "spiffe://example.org"]])
async def test_validation_contexts(server: ServerUnderTest, channel: grpc.aio.Channel, names: list[str]) -> None:
    """Trust domain, ROOTCA and ALL give Envoy's SPIFFE validator; two of them in one request are both answered."""
    await server.create_entry(ID, OWN_UID)
    stream = sds(channel, "StreamSecrets")()
    await stream.write({"resource_names": names, "type_url": SECRET})
    secrets = secrets_of(await stream.read())
    stream.cancel()
    assert sorted(secrets) == sorted(names)
    for secret in secrets.values():
        validator = secret.validation_context.custom_validator_config
        assert validator.name == "envoy.tls.cert_validator.spiffe"
        found = message("envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig").FromString(
            validator.typed_config.value
        )
        assert [domain.name for domain in found.trust_domains] == ["example.org"]


OPT_OUT = "disable_spiffe_cert_validation"


@pytest.mark.parametrize("said", [True, "true"])
@pytest.mark.parametrize("method", ["StreamSecrets", "DeltaSecrets", "FetchSecrets"])
async def test_a_proxy_may_opt_out_of_the_spiffe_validator(
    server: ServerUnderTest, channel: grpc.aio.Channel, method: str, said: object
) -> None:
    """With SPIRE's node metadata the authorities come as plain trusted_ca."""
    await server.create_entry(ID, OWN_UID)
    names = "resource_names_subscribe" if method == "DeltaSecrets" else "resource_names"
    request = {names: ["spiffe://example.org", "ROOTCA"], "node": {"id": "x", "metadata": {OPT_OUT: said}}}
    if method == "FetchSecrets":
        response = await sds(channel, method, "unary_unary")(request)
    else:
        stream = sds(channel, method)()
        await stream.write({**request, "type_url": SECRET})
        response = await stream.read()
        stream.cancel()
    kind = message(SECRET.rpartition("/")[2])
    found = [getattr(each, "resource", each) for each in response.resources]
    contexts = [kind.FromString(any_.value).validation_context for any_ in found]
    assert len(contexts) == 2
    for context in contexts:
        assert context.trusted_ca.inline_bytes == server.bundle_pem
        assert not context.HasField("custom_validator_config")


@pytest.mark.parametrize("said", [False, "false", "", 1, None])
async def test_nothing_else_is_an_opt_out(server: ServerUnderTest, channel: grpc.aio.Channel, said: object) -> None:
    """Whatever does not plainly say so keeps the SPIFFE validator."""
    await server.create_entry(ID, OWN_UID)
    stream = sds(channel, "StreamSecrets")()
    node = {"id": "x", "metadata": {OPT_OUT: said}}
    await stream.write({"resource_names": ["ROOTCA"], "type_url": SECRET, "node": node})
    secrets = secrets_of(await stream.read())
    stream.cancel()
    assert secrets["ROOTCA"].validation_context.HasField("custom_validator_config")


@pytest.mark.parametrize("method", ["StreamSecrets", "FetchSecrets"])
async def test_all_bundles_need_the_validator(server: ServerUnderTest, channel: grpc.aio.Channel, method: str) -> None:
    """In one plain list any trust domain's authority could speak for another, so `ALL` is refused after an opt-out."""
    await server.create_entry(ID, OWN_UID)
    request = {"resource_names": ["ALL"], "type_url": SECRET, "node": {"id": "x", "metadata": {OPT_OUT: True}}}
    if method == "FetchSecrets":
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await sds(channel, method, "unary_unary")(request)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    else:
        stream = sds(channel, method)()
        await stream.write(request)
        assert await end_of(stream) is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_opt_out_is_told_once(server: ServerUnderTest, channel: grpc.aio.Channel) -> None:
    """The node comes with the first request only, and later requests stay plain."""
    await server.create_entry(ID, OWN_UID)
    stream = sds(channel, "StreamSecrets")()
    node = {"id": "x", "metadata": {OPT_OUT: True}}
    await stream.write({"type_url": SECRET, "resource_names": [ID], "node": node})
    nonce = (await stream.read()).nonce
    await stream.write({"type_url": SECRET, "resource_names": [ID, "ROOTCA"], "response_nonce": nonce})
    secrets = secrets_of(await stream.read())
    stream.cancel()
    assert secrets["ROOTCA"].validation_context.HasField("trusted_ca")


async def test_no_names_after_an_opt_out_are_all_but_all(server: ServerUnderTest, channel: grpc.aio.Channel) -> None:
    """`ALL` is left out where it would be refused."""
    await server.create_entry(ID, OWN_UID)
    stream = sds(channel, "StreamSecrets")()
    await stream.write({"type_url": SECRET, "node": {"id": "x", "metadata": {OPT_OUT: True}}})
    assert sorted(secrets_of(await stream.read())) == ["ROOTCA", "default", "spiffe://example.org", ID]
    stream.cancel()


async def test_no_names_are_allsecrets_of(server: ServerUnderTest, channel: grpc.aio.Channel) -> None:
    """A request without names gets everything that the caller is entitled to."""
    await server.create_entry(ID, OWN_UID)
    stream = sds(channel, "StreamSecrets")()
    await stream.write({"type_url": SECRET})
    assert sorted(secrets_of(await stream.read())) == ["ALL", "ROOTCA", "default", "spiffe://example.org", ID]
    stream.cancel()


async def test_a_name_that_can_never_be_is_refused_at_once(server: ServerUnderTest, channel: grpc.aio.Channel) -> None:
    """A name that no entry could bring ends the stream with InvalidArgument."""
    await server.create_entry(ID, OWN_UID)
    stream = sds(channel, "StreamSecrets")()
    await stream.write({"resource_names": ["no such secret"], "type_url": SECRET})
    assert await end_of(stream) is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("hold", [0.5])
@pytest.mark.parametrize("method", ["StreamSecrets", "DeltaSecrets"])
async def test_an_id_of_others_is_refused_after_the_hold(
    server: ServerUnderTest, channel: grpc.aio.Channel, method: str
) -> None:
    """An ID that the caller is not entitled to is waited for, then InvalidArgument."""
    await server.create_entry(ID, OWN_UID)
    stream = sds(channel, method)()
    names = {"resource_names_subscribe": [OTHER]} if method == "DeltaSecrets" else {"resource_names": [OTHER]}
    await stream.write({**names, "type_url": SECRET})
    assert await end_of(stream) is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_id_that_comes_in_time_is_given(server: ServerUnderTest, channel: grpc.aio.Channel) -> None:
    """A proxy that starts before its entry waits on its stream and gets the secret by push."""
    stream = sds(channel, "StreamSecrets")()
    await stream.write({"resource_names": [ID], "type_url": SECRET})
    reading = asyncio.create_task(stream.read())
    await asyncio.sleep(0)
    await server.create_entry(ID, OWN_UID)
    assert list(secrets_of(await reading)) == [ID]
    stream.cancel()


@pytest.mark.parametrize("method", ["StreamSecrets", "DeltaSecrets"])
async def test_a_withdrawn_identity_ends_the_stream(
    server: ServerUnderTest, channel: grpc.aio.Channel, method: str
) -> None:
    """When the entry goes, the stream that gave its secret ends with PermissionDenied."""
    entry = await server.create_entry(ID, OWN_UID)
    await server.create_entry(OTHER, OWN_UID)
    stream = sds(channel, method)()
    names = {"resource_names_subscribe": [ID]} if method == "DeltaSecrets" else {"resource_names": [ID]}
    await stream.write({**names, "type_url": SECRET})
    assert await stream.read()
    await server.delete_entry(entry.id)
    assert await end_of(stream) is grpc.StatusCode.PERMISSION_DENIED


async def test_delta_gives_and_names(server: ServerUnderTest, channel: grpc.aio.Channel) -> None:
    """DeltaSecrets, which SPIRE's agent lacks, gives resources by name."""
    await server.create_entry(ID, OWN_UID)
    stream = sds(channel, "DeltaSecrets")()
    await stream.write({"resource_names_subscribe": [ID, "ALL"], "type_url": SECRET})
    response = await stream.read()
    stream.cancel()
    assert sorted(resource.name for resource in response.resources) == ["ALL", ID]


async def test_fetch_secrets_is_unary(server: ServerUnderTest, channel: grpc.aio.Channel) -> None:
    """FetchSecrets answers once with the names asked for."""
    await server.create_entry(ID, OWN_UID)
    response = await sds(channel, "FetchSecrets", "unary_unary")({"resource_names": [ID, "ALL"]})
    assert sorted(secrets_of(response)) == ["ALL", ID]
