"""What the Workload API answers, by the numbers of lines.toml (1.6 and 2.1), on the socket of a real agent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_private_key
from spiffe import WorkloadApiClient

from ringfence.admin.v1 import admin_pb2 as admin
from ringfence.broker.agent.fetching import delivery
from ringfence.broker.attest.procfs import Process
from ringfence.broker.run.identity import split_der
from ringfence.certs.authority import Authority
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.jwt_svid import sign_jwt
from ringfence.certs.revocation import serial_of
from ringfence.certs.selectors import Selector
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.certs.svid import spiffe_id_of, verify_peer
from ringfence.proto import workload
from ringfence.proto.client import Client
from tests.broker.agent.harness import HEADER, OWN_UID, AgentUnderTest, first_svids, status_of, workload_client
from tests.broker.federation.endpoint import THEIRS, authority
from tests.broker.server.harness import ServerUnderTest
from tests.broker.svidfiles.harness import job, until, writing
from tests.certs.material import new_key

ID = "spiffe://example.org/ns/a/sa/w"
OTHER = "spiffe://example.org/ns/a/sa/other"
OURS = TrustDomain("example.org")


async def _first(client: Client, method: str, request: Any) -> Any:
    call = getattr(client, method)(request, metadata=HEADER)
    answer = await call.read()
    call.cancel()
    return answer


async def _validated(client: Client, token: str) -> str:
    """The ID that ValidateJWTSVID finds; empty when it finds the token invalid."""
    call = client.ValidateJWTSVID(workload.ValidateJWTSVIDRequest(audience="db", svid=token), metadata=HEADER)
    if await call.code() is grpc.StatusCode.INVALID_ARGUMENT:
        return ""
    return str((await call).spiffe_id)


async def _federate(server: ServerUnderTest, issuer: Authority) -> None:
    text = issuer.bundle(1).to_json()
    await server.admin.SetBundle(admin.SetBundleRequest(trust_domain=THEIRS.name, bundle=text))
    await server.create_entry(ID, OWN_UID, federates_with=[THEIRS.name])


def _foreign_token(issuer: Authority) -> str:
    holder = SpiffeId(THEIRS, "/w")
    return issuer.issue_jwt(holder, ["db"], now=datetime.now(UTC), ttl=timedelta(minutes=5))[0]


async def test_1_1_7_the_longest_id_is_registered_and_issued(server: ServerUnderTest, client: Client) -> None:
    """2048 bytes, from the registration to certificate and token; one more is refused."""
    longest = "spiffe://example.org/" + "a" * (2048 - len("spiffe://example.org/"))
    await server.create_entry(longest, OWN_UID)
    [svid] = (await _first(client, "FetchX509SVID", workload.X509SVIDRequest())).svids
    assert svid.spiffe_id == str(spiffe_id_of(split_der(svid.x509_svid)[0])) == longest
    [token] = (await client.FetchJWTSVID(workload.JWTSVIDRequest(audience=["db"]), metadata=HEADER)).svids
    assert await _validated(client, token.svid) == longest
    with pytest.raises(grpc.aio.AioRpcError):
        await server.create_entry(longest + "a", OWN_UID)


async def test_1_6_1_both_profiles_are_served(server: ServerUnderTest, client: Client) -> None:
    """Each of the five calls of the X.509 and the JWT profile answers a workload."""
    await server.create_entry(ID, OWN_UID)
    assert (await _first(client, "FetchX509SVID", workload.X509SVIDRequest())).svids
    assert (await _first(client, "FetchX509Bundles", workload.X509BundlesRequest())).bundles
    assert (await _first(client, "FetchJWTBundles", workload.JWTBundlesRequest())).bundles
    asked = workload.JWTSVIDRequest(audience=["db"])
    [token] = (await client.FetchJWTSVID(asked, metadata=HEADER)).svids
    assert await _validated(client, token.svid) == ID


async def test_1_6_3_a_client_of_ours_unloads_what_is_no_longer_there(
    tmp_path: Path, server: ServerUnderTest, agent: AgentUnderTest
) -> None:
    """`svid write` takes the file of a federated bundle away when a message comes without it."""
    assert agent.agent is not None
    await _federate(server, authority())
    file = tmp_path / "files" / "partner.pem"
    async with writing(job(tmp_path, federated={"partner.pem": THEIRS.name})):
        await until(file.read_bytes)
        await server.admin.DeleteBundle(admin.DeleteBundleRequest(trust_domain=THEIRS.name, mode="dissociate"))
        await until(lambda: not file.is_symlink() and not file.exists())
        assert await asyncio.to_thread((tmp_path / "files" / "svid.pem").read_bytes)


@pytest.mark.parametrize("field", ["svids", "spiffe_id", "x509_svid", "x509_svid_key", "bundle"])
async def test_1_6_4_a_client_discards_a_message_without_a_mandatory_field(
    server: ServerUnderTest, agent: AgentUnderTest, field: str
) -> None:
    """Ours says which; the same message with it is taken."""
    await server.create_entry(ID, OWN_UID)
    answer = await first_svids(agent.socket)
    assert len(delivery(answer).svids) == 1
    (answer if field == "svids" else answer.svids[0]).ClearField(field)
    with pytest.raises(RingfenceError, match=f"lacks {field}"):
        delivery(answer)


async def test_1_6_5_only_the_subjects_own_domain_is_asked(server: ServerUnderTest, client: Client) -> None:
    """Without a bundle of its trust domain a token is not trusted; with it, it is, and ours vouches for no other."""
    issuer = authority()
    await server.create_entry(OTHER, OWN_UID)
    assert await _validated(client, _foreign_token(issuer)) == ""
    await _federate(server, issuer)
    async with asyncio.timeout(30):
        while await _validated(client, _foreign_token(issuer)) != "spiffe://b.test/w":
            pass
    ours = server.parts.trust.authority
    forged, _ = sign_jwt(
        SpiffeId(THEIRS, "/w"),
        ["db"],
        authority=ours.current.jwt,
        keys=ours.keys,
        now=datetime.now(UTC),
        ttl=timedelta(minutes=5),
    )
    assert await _validated(client, forged) == ""


async def test_1_6_6_every_mandatory_field_is_set(server: ServerUnderTest, agent: AgentUnderTest) -> None:
    """One SVID at least, each with ID, chain, key and bundle; only the hint may be empty."""
    await server.create_entry(ID, OWN_UID)
    answer = await first_svids(agent.socket)
    assert len(answer.svids) == 1
    for svid in answer.svids:
        assert {field.name for field, _ in svid.ListFields()} == {"spiffe_id", "x509_svid", "x509_svid_key", "bundle"}


async def test_1_6_7_a_hint_has_at_most_1024_bytes(server: ServerUnderTest, agent: AgentUnderTest) -> None:
    """The longest that is registered has no more even in four-byte characters, and one more is refused."""
    longest = "\U0001f600" * 256
    await server.create_entry(ID, OWN_UID, hint=longest)
    assert [len(svid.hint.encode()) for svid in (await first_svids(agent.socket)).svids] == [1024]
    with pytest.raises(grpc.aio.AioRpcError, match="hint") as caught:
        await server.create_entry(OTHER, OWN_UID, hint=longest + "x")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_1_6_8_federated_bundles_are_named_by_their_ids(server: ServerUnderTest, client: Client) -> None:
    """Beside our own, for those whose entries federate."""
    await _federate(server, authority())
    for method, request in (
        ("FetchX509Bundles", workload.X509BundlesRequest()),
        ("FetchJWTBundles", workload.JWTBundlesRequest()),
    ):
        call = getattr(client, method)(request, metadata=HEADER)
        async with asyncio.timeout(30):
            while (await call.read()).bundles.keys() != {OURS.id, THEIRS.id}:
                pass
        call.cancel()


async def test_1_6_9_what_was_revoked_is_one_der_list_an_authority(
    server: ServerUnderTest, agent: AgentUnderTest
) -> None:
    """Of the form of RFC 5280, signed by the authority that the bundle has."""
    await server.create_entry(ID, OWN_UID)
    async with workload_client(agent.socket) as client:
        call = client.FetchX509SVID(workload.X509SVIDRequest(), metadata=HEADER)
        first = (await call.read()).svids[0]
        serial = x509.load_der_x509_certificate(first.x509_svid).serial_number
        await server.admin.RevokeIdentities(admin.RevokeIdentitiesRequest(serials=[serial_of(serial)]))
        async with asyncio.timeout(30):
            while not (answer := await call.read()).crl:
                pass
        call.cancel()
    [crl] = [x509.load_der_x509_crl(der) for der in answer.crl]
    [root] = [x509.load_der_x509_certificate(der) for der in split_der(answer.svids[0].bundle)]
    assert crl.is_signature_valid(root.public_key())  # type: ignore[arg-type]
    assert crl.get_revoked_certificate_by_serial_number(serial) is not None


def _x509_keys(bundle: bytes) -> Iterator[Any]:
    return (x509.load_der_x509_certificate(der).public_key() for der in split_der(bundle))


async def test_1_6_10_each_bundle_is_for_its_own_documents(server: ServerUnderTest, client: Client) -> None:
    """No key is in both; the one for tokens vouches for no certificate, the one for certificates for no token."""
    await server.create_entry(ID, OWN_UID)
    certificates = (await _first(client, "FetchX509Bundles", workload.X509BundlesRequest())).bundles[OURS.id]
    tokens = (await _first(client, "FetchJWTBundles", workload.JWTBundlesRequest())).bundles[OURS.id]
    as_bundle = SpiffeBundle.parse(OURS, tokens)
    assert not as_bundle.x509_authorities
    assert not [key for key in _x509_keys(certificates) if key in as_bundle.jwt_authorities.values()]
    trust = server.parts.trust.authority
    chain = trust.issue_x509(SpiffeId.parse(ID), new_key().public_key(), now=datetime.now(UTC), ttl=timedelta(hours=1))
    with pytest.raises(RingfenceError, match="no authority"):
        verify_peer(chain, as_bundle, now=datetime.now(UTC))


async def test_1_6_13_validation_gives_all_claims(server: ServerUnderTest, client: Client) -> None:
    """Subject, audience as a list, and expiry among them, as the token has them."""
    await server.create_entry(ID, OWN_UID)
    asked = workload.JWTSVIDRequest(audience=["db"])
    token = (await client.FetchJWTSVID(asked, metadata=HEADER)).svids[0].svid
    question = workload.ValidateJWTSVIDRequest(audience="db", svid=token)
    claims = dict((await client.ValidateJWTSVID(question, metadata=HEADER)).claims)
    assert claims["sub"] == ID
    assert list(claims["aud"]) == ["db"]
    assert claims["exp"] > claims["iat"]


async def _order(socket: Path) -> list[str]:
    """The IDs of a fresh connection's first message, as they come."""
    return [svid.spiffe_id for svid in (await first_svids(socket)).svids]


async def test_1_6_15_the_first_is_the_default_and_stays_it(server: ServerUnderTest, agent: AgentUnderTest) -> None:
    """In the same order on each new connection and for tokens; py-spiffe takes the first for who names none."""
    wanted = {ID, OTHER, f"{ID}-2"}
    for spiffe_id in sorted(wanted):
        await server.create_entry(spiffe_id, OWN_UID)
    async with asyncio.timeout(30):
        while set(order := await _order(agent.socket)) != wanted:
            pass
    for _ in range(3):
        assert await _order(agent.socket) == order
    async with workload_client(agent.socket) as client:
        tokens = (await client.FetchJWTSVID(workload.JWTSVIDRequest(audience=["db"]), metadata=HEADER)).svids
        assert [token.spiffe_id for token in tokens] == order

    def taken() -> str:
        with WorkloadApiClient(f"unix://{agent.socket}") as theirs:
            return str(theirs.fetch_x509_svid().spiffe_id)

    assert await asyncio.to_thread(taken) == order[0]


class _Blind:
    """An attestor that can tell nothing."""

    name = "blind"
    facts: frozenset[str] = frozenset()

    async def attest(self, process: Process, wanted: frozenset[str]) -> frozenset[Selector]:
        """Fail."""
        raise RingfenceError(Kind.UNAVAILABLE, f"cannot look at {process.pid} for {wanted}")


async def test_1_6_16_when_no_attestor_can_tell_it_is_unavailable(
    server: ServerUnderTest, agent: AgentUnderTest
) -> None:
    """Not PermissionDenied, for nobody knows; and in words that say nothing of the node."""
    await server.create_entry(ID, OWN_UID)
    assert agent.agent is not None
    assert agent.agent.watches is not None
    agent.agent.watches.callers._attestors = (_Blind(),)
    async with workload_client(agent.socket) as client:
        call = client.FetchX509SVID(workload.X509SVIDRequest(), metadata=HEADER)
        assert await status_of(call) == (grpc.StatusCode.UNAVAILABLE, "workload attestation failed")


_CALLS = {
    "FetchX509SVID": ("X509SVIDRequest", "X509SVIDResponse", True),
    "FetchX509Bundles": ("X509BundlesRequest", "X509BundlesResponse", True),
    "FetchJWTSVID": ("JWTSVIDRequest", "JWTSVIDResponse", False),
    "FetchJWTBundles": ("JWTBundlesRequest", "JWTBundlesResponse", True),
    "ValidateJWTSVID": ("ValidateJWTSVIDRequest", "ValidateJWTSVIDResponse", False),
    "FetchWITSVID": ("WITSVIDRequest", "WITSVIDResponse", True),
    "FetchWITBundles": ("WITBundlesRequest", "WITBundlesResponse", True),
}


def test_2_1_1_the_service_and_its_calls() -> None:
    """By its bare name, with the standard's requests and answers; the two about one token are no streams."""
    service = workload.DESCRIPTOR
    assert service.full_name == "SpiffeWorkloadAPI"
    assert {
        method.name: (method.input_type.full_name, method.output_type.full_name, method.server_streaming)
        for method in service.methods
    } == _CALLS
    assert not any(method.client_streaming for method in service.methods)


# Name, number and type of each field, `*` for repeated ones; maps by the type of their values.
_FIELDS = {
    "X509SVIDRequest": "",
    "X509SVIDResponse": "svids=1 X509SVID*, crl=2 bytes*, federated_bundles=3 map bytes",
    "X509SVID": "spiffe_id=1 string, x509_svid=2 bytes, x509_svid_key=3 bytes, bundle=4 bytes, hint=5 string",
    "X509BundlesRequest": "",
    "X509BundlesResponse": "crl=1 bytes*, bundles=2 map bytes",
    "JWTSVIDRequest": "audience=1 string*, spiffe_id=2 string",
    "JWTSVIDResponse": "svids=1 JWTSVID*",
    "JWTSVID": "spiffe_id=1 string, svid=2 string, hint=3 string",
    "JWTBundlesRequest": "",
    "JWTBundlesResponse": "bundles=1 map bytes",
    "ValidateJWTSVIDRequest": "audience=1 string, svid=2 string",
    "ValidateJWTSVIDResponse": "spiffe_id=1 string, claims=2 google.protobuf.Struct",
    "WITSVIDRequest": "spiffe_id=1 string",
    "WITSVIDResponse": "svids=1 WITSVID*",
    "WITSVID": "spiffe_id=1 string, wit_svid=2 string, wit_svid_key=3 string, hint=4 string",
    "WITBundlesRequest": "",
    "WITBundlesResponse": "bundles=1 map string",
}
_SCALARS = {9: "string", 12: "bytes"}


def _type(field: Any) -> str:
    kind = field.message_type
    if kind is None:
        return _SCALARS[field.type] + ("*" if field.is_repeated else "")
    if kind.GetOptions().map_entry:
        return f"map {_SCALARS[kind.fields_by_name['value'].type]}"
    return str(kind.full_name) + ("*" if field.is_repeated else "")


@pytest.mark.parametrize("name", _FIELDS)
def test_2_1_2_messages_have_the_standards_fields(name: str) -> None:
    """And no more of them."""
    fields = workload.message(name).DESCRIPTOR.fields
    assert ", ".join(f"{field.name}={field.number} {_type(field)}" for field in fields) == _FIELDS[name]


@pytest.mark.parametrize("hold", [100.0])
async def test_1_6_2_the_first_message_comes_at_once(server: ServerUnderTest, agent: AgentUnderTest) -> None:
    """Of what is held already, within a small part of the time for which a stranger is held."""
    await server.create_entry(ID, OWN_UID)
    assert (await first_svids(agent.socket)).svids
    async with asyncio.timeout(30):
        answer = await first_svids(agent.socket)
    leaf = x509.load_der_x509_certificate(answer.svids[0].x509_svid)
    assert leaf.public_key() == load_der_private_key(answer.svids[0].x509_svid_key, None).public_key()
    assert json.loads((await server.bundle()).to_json())["keys"]
