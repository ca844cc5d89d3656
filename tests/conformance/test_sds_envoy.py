"""Secrets by the numbers of lines.toml (2.2, lines 7 to 12): what a real Envoy makes of them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from ringfence.certs.bundle_map import write_map, x509_only
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.xds import codec, types
from ringfence.xds.snapshot import Snapshot
from tests.broker.agent.harness import OWN_UID, AgentUnderTest
from tests.broker.server.harness import ServerUnderTest
from tests.conformance.envoy import NODE, envoy, greeter, greets, passage, said, upstream
from tests.e2e.identities import Domain, Identity, secrets, web_server
from tests.e2e.plane import Plane, until
from tests.e2e.proxies import listening
from tests.ports import free_port
from tests.xds.intent import TRAINER, snapshot_of

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

ID = "spiffe://example.org/ns/a/sa/w"
FRIEND, STRANGER = "spiffe://example.org/friend", "spiffe://example.org/stranger"
_TLS = "envoy.extensions.transport_sockets.tls.v3."


@asynccontextmanager
async def _proxy(
    tmp_path: Path, server: ServerUnderTest, agent: AgentUnderTest, *names: str, only: str = ""
) -> AsyncIterator[list[int]]:
    """The ports of an Envoy's listeners, one to each name of a certificate, with the agent's secrets."""
    await server.create_entry(ID, OWN_UID)
    ports = [free_port() for _ in names]
    listeners = [greeter(port, name=name, only=only) for port, name in zip(ports, names, strict=True)]
    with ExitStack() as stack:
        await asyncio.to_thread(stack.enter_context, envoy(tmp_path, agent.socket, listeners))
        for port in ports:
            await asyncio.to_thread(listening, port)
        yield ports


@pytest.fixture
def domain(server: ServerUnderTest) -> Domain:
    """What the server's own keys can sign."""
    authority = server.parts.trust.authority
    return Domain("example.org", authority.keys, authority)  # type: ignore[arg-type]  # keys on disk


async def _greeted(tmp_path: Path, port: int, shown: Identity | None) -> bool:
    """Whether a listener lets a client in that shows this certificate."""
    context = shown.client(tmp_path) if shown else _no_certificate()
    return await asyncio.to_thread(greets, port, context)


def _no_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def test_2_2_7_a_stream_for_each_secret(tmp_path: Path, server: ServerUnderTest, agent: AgentUnderTest) -> None:
    """Three listeners that want two certificates and one validator between them: three streams."""
    assert agent.agent is not None
    watches = agent.agent.watches
    assert watches is not None
    async with _proxy(tmp_path, server, agent, "default", "default", ID):
        await asyncio.to_thread(until, lambda: len(watches) == 3, "three streams")


async def test_2_2_8_a_matcher_is_enforced_beside_the_validator(
    tmp_path: Path, server: ServerUnderTest, agent: AgentUnderTest, domain: Domain
) -> None:
    """Of two good SVIDs the one that the listener names gets through, and its name under another root does not."""
    friend = SpiffeId.parse(FRIEND)
    async with _proxy(tmp_path, server, agent, "default", only=FRIEND) as [port]:
        assert await _greeted(tmp_path, port, domain.issue(friend))
        assert not await _greeted(tmp_path, port, domain.issue(SpiffeId.parse(STRANGER)))
        assert not await _greeted(tmp_path, port, Domain("example.org").issue(friend))


@contextmanager
def _plane(tmp_path: Path, snapshot: Snapshot) -> Iterator[tuple[Plane, Path]]:
    """A secret service that says what a test wants, and its socket."""
    path = tmp_path / "secrets.sock"
    plane = Plane(str(path))
    plane.secrets[NODE] = snapshot
    try:
        yield plane, path
    finally:
        plane.close()


def _with(snapshot: Snapshot, name: str, **fields: object) -> Snapshot:
    """*snapshot* with another secret of that name."""
    made = codec.resource(name, codec.build(f"{_TLS}Secret", name=name, **fields))
    kept = [(types.SECRET, resource) for known, resource in snapshot.named(types.SECRET).items() if known != name]
    return Snapshot.of([*kept, made], "changed")


def test_2_2_9_a_bundle_map_is_taken_as_it_is(tmp_path: Path) -> None:
    """The map that `bundle show` and `svid write` make, over SDS: members of both domains are greeted, others not."""
    own, foreign, evil = Domain("example.org"), Domain("other.org"), Domain("evil.org")
    text = write_map(x509_only(domain.authority.bundle(1)) for domain in (own, foreign))
    validator = codec.extension(
        "envoy.tls.cert_validator.spiffe", f"{_TLS}SPIFFECertValidatorConfig", trust_bundles={"inline_bytes": text}
    )
    made = _with(secrets(own, SpiffeId.parse(ID)), "ALL", validation_context={"custom_validator_config": validator})
    port = free_port()
    with _plane(tmp_path, made) as (_, socket), envoy(tmp_path, socket, [greeter(port, name=ID)]):
        listening(port)
        for domain, answer in ((own, True), (foreign, True), (evil, False)):
            shown = domain.issue(SpiffeId(domain.name, "/w"))
            assert greets(port, shown.client(tmp_path)) is answer


def test_2_2_10_a_key_that_does_not_fit_is_refused_without_a_word_of_it(tmp_path: Path) -> None:
    """What Envoy sends back, and what it logs, names the fault and holds no line of either key."""
    own = Domain("example.org")
    one, other = own.issue(SpiffeId.parse(ID)), own.issue(SpiffeId.parse(FRIEND))
    pair = {"certificate_chain": {"inline_bytes": one.chain}, "private_key": {"inline_bytes": other.key}}
    made = _with(secrets(own, SpiffeId.parse(ID)), ID, tls_certificate=pair)
    with _plane(tmp_path, made) as (plane, socket), envoy(tmp_path, socket, [greeter(free_port(), name=ID)]):
        [detail] = until(lambda: plane.nacks, "a NACK")
    assert "KEY_VALUES_MISMATCH" in detail
    for text in (detail, (tmp_path / "envoy.log").read_text()):
        assert not [line for line in other.key.decode().split("\n")[1:-2] if line in text]


async def test_2_2_11_the_validator_wants_a_workloads_certificate(
    tmp_path: Path, server: ServerUnderTest, agent: AgentUnderTest, domain: Domain
) -> None:
    """None, one of a trust domain's own ID and one of a domain without bundle are refused.

    Two URIs are let in, although the standard says they must not be: it is for our policies to deny them. Should Envoy
    learn it, this test says so, and the guard may go.
    """
    async with _proxy(tmp_path, server, agent, "default") as [port]:
        assert await _greeted(tmp_path, port, domain.issue(SpiffeId.parse(FRIEND)))
        assert not await _greeted(tmp_path, port, None)
        for refused in (domain.forge("spiffe://example.org"), domain.forge("spiffe://other.org/x")):
            assert not await _greeted(tmp_path, port, refused)
        assert await _greeted(tmp_path, port, domain.forge(FRIEND, STRANGER))


async def _tell_version(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(writer.get_extra_info("ssl_object").version().encode())
    writer.close()


async def test_2_2_12_upstreams_stop_at_tls_1_2_unless_told(tmp_path: Path) -> None:
    """Of two clusters to one server the one without parameters gets 1.2, the one that says so 1.3."""
    site, _ = web_server("localhost")
    (tmp_path / "site.pem").write_bytes(site.chain + site.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "site.pem")
    server = await asyncio.start_server(_tell_version, "127.0.0.1", 0, ssl=context)
    there = server.sockets[0].getsockname()[1]
    ports = [free_port(), free_port()]
    told = {"tls_maximum_protocol_version": "TLSv1_3"}
    listeners = [passage(ports[0], "plain"), passage(ports[1], "told")]
    clusters = [upstream("plain", there, {}), upstream("told", there, told)]
    with envoy(tmp_path, tmp_path / "nobody.sock", listeners, clusters):
        for port, version in zip(ports, (b"TLSv1.2", b"TLSv1.3"), strict=True):
            await asyncio.to_thread(listening, port)
            assert await asyncio.to_thread(said, port) == version
    server.close()


def test_2_2_12_ours_are_told() -> None:
    """Every cluster that we compile with TLS may speak 1.3."""
    sockets = [
        codec.unpack(resource.any).transport_socket
        for resource in snapshot_of("team-a/trainer", TRAINER).named(types.CLUSTER).values()
    ]
    contexts = [codec.unpack(codec.encode(each.typed_config)) for each in sockets if each.name.endswith(".tls")]
    assert len(contexts) >= 3
    for context in contexts:
        assert context.common_tls_context.tls_params.tls_maximum_protocol_version == 4  # TLSv1_3
