"""Real gRPC clients and servers without a proxy under our own fleet and lane, and beside real Envoys."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import pytest

from ringfence.certs.bundle_map import write_map, x509_only
from ringfence.certs.revocation import Revocations, RevokedIdentity
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.proto.lane import Lane, Method
from tests.e2e.identities import Domain, Identity
from tests.e2e.mesh import Mesh, model_of, running_mesh, until
from tests.e2e.proxyless import BY_BUNDLE_MAP, Library, install, library
from tests.policy import intent
from tests.ports import free_port

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

RULES = """
kind: Workload
metadata: {name: registry, namespace: shared}
spec:
  match: [{unix.uid: 1002}]
  serves: [{name: rpc, port: APP, protocol: grpc}]
---
kind: Allow
metadata: {name: pull, namespace: team-a}
spec:
  from: [{workload: trainer}]
  to: [{workload: registry, namespace: shared, port: rpc}]
  http: [{paths: ["/pkg.Models/*"]}]
  owner: ml
  reason: base model
---
kind: Allow
metadata: {name: look, namespace: team-b}
spec:
  from: [{namespace: team-b}]
  to: [{workload: registry, namespace: shared, port: rpc}]
  http: [{paths: ["/pkg.Public/*"]}]
  owner: ml
  reason: everybody's
---
kind: Deny
metadata: {name: but, namespace: shared}
spec:
  from: [{all: true}]
  to: [{workload: registry, namespace: shared, port: rpc}]
  http: [{paths: ["/pkg.Models/Delete"]}]
  owner: ml
  reason: nobody does
"""
INTENT = intent.joined(intent.MESH, intent.TRAINER, intent.NOTEBOOK, RULES)
TARGET, UPSTREAM = "registry.shared:rpc", "registry.shared/rpc"
GET = "/pkg.Models/Get"
ALLOWED, REFUSED = "OK", "PERMISSION_DENIED"
BOUND = 30.0  # seconds on a busy machine; the figure of an idle one is in docs/grpc.md


@dataclass
class World:
    """A mesh with the registry as a library that serves."""

    mesh: Mesh
    text: str
    port: int
    registry: Library

    def apply(self, text: str) -> None:
        """Put another intent in force."""
        self.mesh.fleet.apply(model_of(text))

    def caller(self, identity: Identity) -> grpc.aio.Channel:
        """A plain client with that certificate, which trusts the mesh and no xDS."""
        bundle = self.mesh.domain.authority.bundle(1).x509_pem()
        credentials = grpc.ssl_channel_credentials(bundle, identity.key, identity.chain)
        options = [("grpc.ssl_target_name_override", "registry.test")]
        return grpc.aio.secure_channel(f"127.0.0.1:{self.port}", credentials, options=options)

    async def code(self, identity: Identity, path: str = GET) -> str:
        """How one call with that certificate ends."""
        async with self.caller(identity) as channel:
            try:
                await channel.unary_unary(path)(b"", timeout=20)
            except grpc.aio.AioRpcError as error:
                return error.code().name
        return ALLOWED


@asynccontextmanager
async def world(folder: Path, environment: Mapping[str, str] = BY_BUNDLE_MAP) -> AsyncIterator[World]:
    """The registry serves, and the fleet knows it."""
    port = free_port()
    text = INTENT.replace("APP", str(port))
    async with running_mesh(folder, text) as mesh:
        named = mesh.domain.issue(SpiffeId(mesh.domain.name, "/ns/shared/sa/registry"), dns=["registry.test"])
        registry = await library(
            mesh, "shared/registry", inbound={"rpc": f"127.0.0.1:{port}"}, identity=named, environment=environment
        )
        await registry.do("serve", at=f"127.0.0.1:{port}", drain_ms=200)
        await until(lambda: any(row.inbound and row.state == "SYNCED" for row in mesh.fleet.list_proxies()))
        yield World(mesh, text, port, registry)


def own(mesh: Mesh, path: str) -> Identity:
    """An SVID as the authority issues it."""
    return mesh.domain.issue(SpiffeId(mesh.domain.name, path))


TRAINER = "/ns/team-a/sa/trainer"


async def test_what_a_rule_allows_is_answered_and_all_else_is_denied(tmp_path: Path) -> None:
    """By identity, by namespace, deny over allow, and default deny; the server sees who calls."""
    async with world(tmp_path) as here:
        trainer = await library(here.mesh, "team-a/trainer")
        notebook = await library(here.mesh, "team-b/notebook")
        answer = await trainer.do("call", target=f"xds:///{TARGET}", path=GET)
        assert answer == "OK spiffe://example.test/ns/team-a/sa/trainer"
        assert await trainer.call(TARGET, "/pkg.Models/Delete") == REFUSED
        assert await trainer.call(TARGET, "/pkg.Public/Get") == REFUSED
        assert await notebook.call(TARGET, "/pkg.Public/Get") == ALLOWED
        assert await notebook.call(TARGET, GET) == REFUSED


async def test_a_change_is_judged_by_on_the_next_call_of_an_open_channel_and_drains_nothing(tmp_path: Path) -> None:
    """Denied within moments, allowed again, and a stream that was open all the while goes on."""
    async with world(tmp_path) as here:
        trainer = await library(here.mesh, "team-a/trainer")
        assert await trainer.do("watch", target=f"xds:///{TARGET}", path="/pkg.Models/Watch") == "on"
        assert await trainer.call(TARGET, GET) == ALLOWED
        started = time.monotonic()
        here.apply(here.text.replace("/pkg.Models/*", "/pkg.None/*"))
        while await trainer.call(TARGET, GET) == ALLOWED:
            assert time.monotonic() - started < BOUND
        here.apply(here.text)
        while await trainer.call(TARGET, GET) != ALLOWED:
            assert time.monotonic() - started < 2 * BOUND
        assert await trainer.do("read", path="/pkg.Models/Watch") == "on"


async def test_whoever_is_revoked_is_refused_and_what_it_has_open_ends(tmp_path: Path) -> None:
    """The next call, and within the server's own grace the open stream; another caller comes back by itself."""
    async with world(tmp_path) as here:
        trainer = await library(here.mesh, "team-a/trainer")
        notebook = await library(here.mesh, "team-b/notebook")
        assert await trainer.do("watch", target=f"xds:///{TARGET}", path="/pkg.Models/Watch") == "on"
        assert await notebook.call(TARGET, "/pkg.Public/Get") == ALLOWED
        name = f"spiffe://example.test{TRAINER}"
        here.mesh.fleet.revoke(Revocations.of((), [RevokedIdentity(name, 5, "left", "alice")]))
        assert (await trainer.do("ended", path="/pkg.Models/Watch")).startswith("UNAVAILABLE")
        assert await here.code(own(here.mesh, TRAINER)) == REFUSED
        assert await notebook.call(TARGET, "/pkg.Public/Get") == ALLOWED


async def test_a_certificate_that_is_no_identity_of_ours_gets_nothing(tmp_path: Path) -> None:
    """No certificate, another authority's, one with two names, one without a path, another trust domain's by ours."""
    evil = Domain("example.test")
    async with world(tmp_path) as here:
        domain = here.mesh.domain
        trainer, notebook = (f"spiffe://example.test/ns/{p}" for p in ("team-a/sa/trainer", "team-b/sa/notebook"))
        assert await here.code(own(here.mesh, TRAINER)) == ALLOWED
        assert await here.code(evil.issue(SpiffeId(evil.name, TRAINER))) == "UNAVAILABLE"
        assert await here.code(domain.forge(trainer, notebook)) == "UNAVAILABLE", "the bundle map takes one name only"
        assert await here.code(domain.forge("spiffe://example.test")) != ALLOWED
        assert await here.code(domain.forge("spiffe://other.test/ns/team-a/sa/trainer")) == "UNAVAILABLE"
        assert await here.code(domain.forge(dns=("trainer.team-a",))) != ALLOWED


async def test_without_the_bundle_map_the_rules_refuse_what_the_handshake_lets_through(tmp_path: Path) -> None:
    """Two names of two rules, another trust domain's name by our own authority, and none at all."""
    async with world(tmp_path, environment={}) as here:
        domain = here.mesh.domain
        trainer, notebook = (f"spiffe://example.test/ns/{p}" for p in ("team-a/sa/trainer", "team-b/sa/notebook"))
        assert await here.code(own(here.mesh, TRAINER)) == ALLOWED
        assert await here.code(domain.forge(trainer, notebook)) == REFUSED
        assert await here.code(domain.forge(trainer, "https://example.test/")) == REFUSED
        assert await here.code(domain.forge(trainer, "spiffe://other.test/ns/team-a/sa/trainer")) == REFUSED
        assert await here.code(domain.forge("spiffe://other.test/ns/team-a/sa/trainer")) == REFUSED
        assert await here.code(domain.forge("spiffe://example.test")) == REFUSED
        assert await here.code(domain.forge(dns=("trainer.team-a",))) == REFUSED


async def test_a_server_that_proves_another_identity_is_not_spoken_to(tmp_path: Path) -> None:
    """The client demands exactly the registry's name, whatever else the mesh has certified."""
    async with world(tmp_path) as here:
        trainer = await library(here.mesh, "team-a/trainer")
        assert await trainer.call(TARGET, GET) == ALLOWED
        bundle = here.mesh.domain.authority.bundle(1)
        other = here.mesh.domain.issue(SpiffeId(here.mesh.domain.name, "/ns/shared/sa/other"), dns=["registry.test"])
        install(here.registry.folder, other, bundle.x509_pem(), write_map([x509_only(bundle)]))
        another = await library(here.mesh, "team-a/trainer", node="2")
        async with asyncio.timeout(20):
            while "SAN" not in (said := await another.do("call", target=f"xds:///{TARGET}", path=GET, wait=False)):
                await another.do("forget", target=f"xds:///{TARGET}")
                await asyncio.sleep(0.2)
        assert said.startswith("UNAVAILABLE")


async def test_new_certificates_are_taken_up_while_a_channel_is_open(tmp_path: Path) -> None:
    """Of the client and of the server, from another authority too, and no call fails for it."""
    async with world(tmp_path) as here:
        trainer = await library(here.mesh, "team-a/trainer")
        assert await trainer.do("watch", target=f"xds:///{TARGET}", path="/pkg.Models/Watch") == "on"
        before = await _serial(here)
        bundle = here.mesh.domain.authority.bundle(1)
        for process, path in ((here.registry, "/ns/shared/sa/registry"), (trainer, TRAINER)):
            fresh = here.mesh.domain.issue(SpiffeId(here.mesh.domain.name, path), dns=["registry.test"])
            install(process.folder, fresh, bundle.x509_pem(), write_map([x509_only(bundle)]))
        async with asyncio.timeout(20):
            while await _serial(here) == before:
                assert await trainer.call(TARGET, GET) == ALLOWED
        assert await trainer.call(TARGET, GET) == ALLOWED
        assert await trainer.do("read", path="/pkg.Models/Watch") == "on"


async def _serial(here: World) -> str:
    """Of the certificate that the server shows now."""
    import ssl  # noqa: PLC0415

    from cryptography import x509  # noqa: PLC0415

    context = own(here.mesh, TRAINER).client(here.mesh.folder, alpn=("h2",))
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", here.port, ssl=context, server_hostname="registry.test")
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return f"{x509.load_der_x509_certificate(shown).serial_number:x}"


async def test_a_caller_of_a_federated_domain_is_let_in_by_its_own_roots_alone(tmp_path: Path) -> None:
    """By the bundle map: neither authority vouches for the names of the other, and one rule means one identity."""
    other = Domain("other.test")
    async with world(tmp_path) as here:
        here.apply(here.text.replace("[{workload: trainer}]", f"[{{id: {other.name.id}/ns/x/sa/y}}]"))
        bundles = [domain.authority.bundle(1) for domain in (here.mesh.domain, other)]
        named = here.mesh.domain.issue(SpiffeId(here.mesh.domain.name, "/ns/shared/sa/registry"), dns=["registry.test"])
        install(here.registry.folder, named, bundles[0].x509_pem(), write_map(map(x509_only, bundles)))
        theirs = other.issue(SpiffeId(other.name, "/ns/x/sa/y"))
        async with asyncio.timeout(20):  # gRPC looks at its files once a second
            while await here.code(theirs) != ALLOWED:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert await here.code(other.issue(SpiffeId(other.name, "/ns/x/sa/z"))) == REFUSED
        assert await here.code(other.forge(f"spiffe://example.test{TRAINER}")) == "UNAVAILABLE"
        assert await here.code(here.mesh.domain.forge(f"{other.name.id}/ns/x/sa/y")) == "UNAVAILABLE"


async def test_an_envoy_calls_a_library_that_serves(tmp_path: Path) -> None:
    """By the same endpoints; the caller's own proxy adds nothing and the rules are the server's."""
    async with world(tmp_path) as here:
        envoy = await here.mesh.envoy("team-a/trainer", upstream={UPSTREAM: free_port()}, node="e")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{envoy.upstream[UPSTREAM]}") as channel:
            answer = await channel.unary_unary(GET)(b"", timeout=20, wait_for_ready=True)
            assert answer == b"spiffe://example.test/ns/team-a/sa/trainer"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary("/pkg.Models/Delete")(b"", timeout=20)
    assert caught.value.code().name == REFUSED


async def test_a_library_calls_a_server_behind_an_envoy(tmp_path: Path) -> None:
    """The other way round: Envoy judges, and a change is judged by on the open channel."""
    async with AsyncExitStack() as stack:
        app = Lane({GET: Method(lambda call: call.send(b"envoy"), bytes)})
        port = await app.listen_tcp("127.0.0.1", 0, None)
        stack.push_async_callback(app.close)
        text = INTENT.replace("APP", str(port))
        mesh = await stack.enter_async_context(running_mesh(tmp_path, text))
        await mesh.envoy("shared/registry", inbound={"rpc": free_port()})
        trainer = await library(mesh, "team-a/trainer")
        assert await trainer.do("call", target=f"xds:///{TARGET}", path=GET) == "OK envoy"
        assert await trainer.call(TARGET, "/pkg.Models/Delete") == REFUSED
        started = time.monotonic()
        mesh.fleet.apply(model_of(text.replace("/pkg.Models/*", "/pkg.None/*")))
        while await trainer.call(TARGET, GET) == ALLOWED:
            assert time.monotonic() - started < BOUND


async def test_a_server_that_stops_is_gone_from_the_mesh_at_once(tmp_path: Path) -> None:
    """It takes back its listener before it ends, so that nobody is sent there any more."""
    async with world(tmp_path) as here:
        trainer = await library(here.mesh, "team-a/trainer")
        assert await trainer.call(TARGET, GET) == ALLOWED
        await here.registry.do("stop", at=f"127.0.0.1:{here.port}")
        await until(lambda: not any(row.inbound for row in here.mesh.fleet.list_proxies()))
        said = await trainer.do("call", target=f"xds:///{TARGET}", path=GET, wait=False)
        assert said.startswith("UNAVAILABLE")


async def test_the_node_cannot_claim_to_be_another(tmp_path: Path) -> None:
    """What a library gets is what its certificate proves: the notebook asks by the trainer's name."""
    async with world(tmp_path) as here:
        false = await library(here.mesh, "team-a/trainer", identity=own(here.mesh, "/ns/team-b/sa/notebook"), node="2")
        said = await false.do("call", target=f"xds:///{TARGET}", path=GET, wait=False)
        assert said.startswith("UNAVAILABLE")
        assert "claims to be" in said
