"""Secrets by the numbers of lines.toml (2.2, lines 1 to 6): what SPIRE's agent serves to Envoy, on our socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest

from ringfence.admin.v1 import admin_pb2 as admin
from ringfence.xds.codec import message
from ringfence.xds.types import SECRET
from tests.broker.agent.harness import OWN_UID, AgentUnderTest
from tests.broker.agent.sds import end_of, sds, secrets_of
from tests.broker.federation.endpoint import THEIRS, authority
from tests.broker.server.harness import ServerUnderTest

ID = "spiffe://example.org/ns/a/sa/w"
OTHER = "spiffe://example.org/ns/a/sa/other"
_EVERY = ["ALL", "ROOTCA", "default", THEIRS.id, "spiffe://example.org", ID]
_SPIFFE_VALIDATOR = "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig"
_OPTED_OUT = {"id": "x", "metadata": {"disable_spiffe_cert_validation": True}}


@pytest.fixture
def impatient(agent: AgentUnderTest, channel: grpc.aio.Channel) -> None:
    """From now on nothing is waited for that is not there: names are asked for that never come."""
    assert channel is not None  # what is to be there has come by then
    agent.hold_for(0.5)


@pytest.fixture
async def channel(server: ServerUnderTest, agent: AgentUnderTest) -> AsyncIterator[grpc.aio.Channel]:
    """A connection of a proxy with one identity, which federates with one domain."""
    text = authority().bundle(1).to_json()
    await server.admin.SetBundle(admin.SetBundleRequest(trust_domain=THEIRS.name, bundle=text))
    await server.create_entry(ID, OWN_UID, federates_with=[THEIRS.name])
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.insecure_channel(f"unix:{agent.socket}", options=options) as made:
        await _given(made, THEIRS.id)
        yield made


async def _given(channel: grpc.aio.Channel, *names: str, node: dict[str, Any] | None = None) -> dict[str, Any]:
    """The secrets of the first response to these names, which comes once all of them are there."""
    stream = sds(channel, "StreamSecrets")()
    await stream.write({"type_url": SECRET, "resource_names": names, **({"node": node} if node else {})})
    async with asyncio.timeout(30):
        while not set(names) <= (found := secrets_of(await stream.read())).keys():
            pass
    stream.cancel()
    return found


def _domains(secret: Any) -> list[str]:
    """The trust domains for which a secret has Envoy's SPIFFE validator."""
    validator = secret.validation_context.custom_validator_config
    assert validator.name == "envoy.tls.cert_validator.spiffe"
    return [domain.name for domain in message(_SPIFFE_VALIDATOR).FromString(validator.typed_config.value).trust_domains]


async def test_2_2_1_no_header_is_needed(channel: grpc.aio.Channel) -> None:
    """Envoy sends none, and gets what its process is entitled to."""
    secret = (await _given(channel, ID))[ID]
    assert secret.tls_certificate.certificate_chain.inline_bytes.startswith(b"-----BEGIN CERTIFICATE-----")
    assert secret.tls_certificate.private_key.inline_bytes.startswith(b"-----BEGIN PRIVATE KEY-----")


async def test_2_2_2_names_are_those_of_spires_agent(channel: grpc.aio.Channel) -> None:
    """Certificates by ID or as the default, bundles by domain, our own, and all of them sorted."""
    found = await _given(channel, *_EVERY)
    assert sorted(found) == sorted(_EVERY)
    assert all(found[name].HasField("tls_certificate") for name in (ID, "default"))
    assert [_domains(found[name]) for name in (THEIRS.id, "spiffe://example.org", "ROOTCA")] == [
        [THEIRS.name],
        ["example.org"],
        ["example.org"],
    ]
    assert _domains(found["ALL"]) == sorted([THEIRS.name, "example.org"])


async def test_2_2_3_no_names_are_all(channel: grpc.aio.Channel) -> None:
    """The bundles, federated ones too, and the certificates."""
    assert sorted(await _given(channel)) == sorted(_EVERY)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", [OTHER, "spiffe://other.org", "no such secret"])
async def test_2_2_4_a_name_of_others_ends_the_stream(channel: grpc.aio.Channel, name: str) -> None:
    """InvalidArgument, whether the name is somebody else's, an unknown domain's, or nobody's."""
    stream = sds(channel, "StreamSecrets")()
    await stream.write({"type_url": SECRET, "resource_names": [name]})
    assert await end_of(stream) is grpc.StatusCode.INVALID_ARGUMENT
    assert "not authorized for the requested identities" in (await stream.details() or "")


@pytest.mark.usefixtures("impatient")
async def test_2_2_5_plain_authorities_are_for_those_who_ask(channel: grpc.aio.Channel) -> None:
    """By the proxy's node metadata; `ALL` is not given plainly, since any domain could then speak for another."""
    plain = (await _given(channel, "ROOTCA", node=_OPTED_OUT))["ROOTCA"].validation_context
    assert plain.trusted_ca.inline_bytes.startswith(b"-----BEGIN CERTIFICATE-----")
    assert not plain.HasField("custom_validator_config")
    assert _domains((await _given(channel, "ROOTCA"))["ROOTCA"]) == ["example.org"]
    stream = sds(channel, "StreamSecrets")()
    await stream.write({"type_url": SECRET, "resource_names": ["ALL"], "node": _OPTED_OUT})
    assert await end_of(stream) is grpc.StatusCode.INVALID_ARGUMENT


async def test_2_2_6_only_a_change_is_answered(channel: grpc.aio.Channel) -> None:
    """Neither an ACK nor a request with an old nonce brings a response: the next is of the names that came last."""
    stream = sds(channel, "StreamSecrets")()
    await stream.write({"type_url": SECRET, "resource_names": [ID]})
    first = await stream.read()
    accepted = {"type_url": SECRET, "response_nonce": first.nonce, "version_info": first.version_info}
    await stream.write({**accepted, "resource_names": [ID]})
    await stream.write({**accepted, "response_nonce": "old", "resource_names": ["ROOTCA"]})
    await stream.write({**accepted, "resource_names": [ID, "default"]})
    second = await stream.read()
    assert "ROOTCA" not in secrets_of(second)
    assert second.nonce != first.nonce
    assert second.version_info
    stream.cancel()


async def test_2_2_6_where_spires_agent_fails_ours_does_not(channel: grpc.aio.Channel) -> None:
    """Two names of one bundle in one request, and DeltaSecrets."""
    assert {"spiffe://example.org", "ROOTCA"} <= (await _given(channel, "spiffe://example.org", "ROOTCA")).keys()
    stream = sds(channel, "DeltaSecrets")()
    await stream.write({"type_url": SECRET, "resource_names_subscribe": [ID, "ALL"]})
    assert sorted(resource.name for resource in (await stream.read()).resources) == ["ALL", ID]
    stream.cancel()
