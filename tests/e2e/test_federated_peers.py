"""A partner that replaces its authority at once, and a real Envoy that holds the partner's bundle of before."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.address import Address
from ringfence.broker.config import Web
from ringfence.broker.metrics import MISSED_KEYS
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.xds import decision
from tests import parts
from tests.broker.agent.harness import running_agent
from tests.broker.server.harness import ServerUnderTest, running_server
from tests.e2e.identities import Domain, Identity
from tests.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.envoy, pytest.mark.slow]

THEIRS = TrustDomain("b.test")
WEB = "spiffe://example.org/ns/shared/sa/web"
CALLER = SpiffeId(THEIRS, "/ns/team-b/sa/caller")
INTENT = """\
    kind: Mesh
    spec: {{trustDomain: example.org}}
    ---
    kind: Workload
    metadata: {{name: web, namespace: shared}}
    spec:
      launch: {{by: [{{unix.uid: {uid}}}]}}
      serves: [{{name: http, port: {port}, protocol: http}}]
"""
STAYS = "import signal; print('up', flush=True); signal.pause()"
_PATIENCE = 30.0  # seconds until a test gives up
_SOON = 3.0  # seconds that a refused peer may have to wait on a machine that is busy; a tenth of it when it is not


@dataclass
class Partners:
    """Ours with a proxy that serves peers of theirs, whose bundle was fetched once and would be again in minutes."""

    folder: Path
    ours: ServerUnderTest
    theirs: ServerUnderTest
    inbound: int

    def caller(self) -> Identity:
        """An SVID of theirs, by the authority that signs there now."""
        return Domain(THEIRS.name, authority=self.theirs.parts.trust.authority).issue(CALLER)  # type: ignore[arg-type]

    async def status(self, shown: Identity) -> int:
        """What a call with that SVID is answered with; 0 when the handshake is refused."""
        return await asyncio.to_thread(self._status, shown)

    def _status(self, shown: Identity) -> int:
        try:
            raw = socket.create_connection(("127.0.0.1", self.inbound), timeout=30)
            with raw, shown.client(self.folder).wrap_socket(raw) as tls:
                tls.sendall(b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n")
                answer = re.match(rb"HTTP/1.1 (\d+) ", tls.recv(4096))
        except (ssl.SSLError, ConnectionError):
            return 0
        return int(answer[1]) if answer else 0

    async def accepted(self, shown: Identity) -> float:
        """Call until the handshake is accepted; how many seconds that took."""
        began = time.monotonic()
        async with asyncio.timeout(_PATIENCE):
            while not await self.status(shown):  # noqa: ASYNC110  # as a workload would: nothing tells it
                await asyncio.sleep(0.05)
        return time.monotonic() - began

    async def refusal(self) -> pb.Decision:
        """The first handshake that the proxy refused, as its decision."""
        async with asyncio.timeout(_PATIENCE):
            async for found in self.ours.admin.TailAuthz(pb.TailAuthzRequest(follow=True, last=100, rule="not-mtls")):
                return found
        raise AssertionError("the stream ended")


@pytest.fixture
async def partners() -> AsyncIterator[Partners]:
    """In a folder with a path short enough for sockets."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rf-")))
        for name in ("ours", "theirs"):
            (folder / name).mkdir()
        endpoint = Web(Address("127.0.0.1", 0))
        theirs = await stack.enter_async_context(
            running_server(folder / "theirs", trust_domain=THEIRS, bundle_endpoint=endpoint)
        )
        ours = await stack.enter_async_context(running_server(folder / "ours"))
        agent = await stack.enter_async_context(running_agent(folder / "ours", ours))
        text = dedent(INTENT).format(uid=os.geteuid(), port=free_port())
        await ours.apply({"web.yaml": text})
        await federate(ours, theirs)
        # Intent federates with nobody: this second entry for the same identity does, told apart by its hint.
        await ours.create_entry(
            WEB, "launch:namespace:shared", "launch:name:web", hint="partners", federates_with=[THEIRS.name]
        )
        inbound = await stack.enter_async_context(running_proxy(folder, agent.socket))
        made = Partners(folder, ours, theirs, inbound)
        async with asyncio.timeout(_PATIENCE):
            while await made.status(made.caller()) != 403:  # noqa: ASYNC110  # known, and allowed nothing
                await asyncio.sleep(0.05)
        yield made


async def federate(ours: ServerUnderTest, theirs: ServerUnderTest) -> None:
    """A relation that has fetched once."""
    assert theirs.running is not None
    relation = pb.Federation(
        trust_domain=THEIRS.name,
        url=f"https://{theirs.running.bundle_endpoint}/",
        profile="https_spiffe",
        endpoint_id=f"{THEIRS.id}/ringfence/server",
        bootstrap=theirs.parts.trust.bundle.to_json(),
    )
    await ours.admin.CreateFederation(relation)
    await ours.admin.RefreshFederation(pb.RefreshFederationRequest(trust_domain=THEIRS.name))


@asynccontextmanager
async def running_proxy(folder: Path, socket_path: Path) -> AsyncIterator[int]:
    """The workload `shared/web` behind its Envoy; yields where that listens for the mesh."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ringfence.broker.cli", "run", "--name", "web", "--namespace", "shared"),
        *("--envoy", parts.envoy(), "--", sys.executable, "-c", STAYS),
        env={**os.environ, "RINGFENCE_SOCKET": str(socket_path), "XDG_RUNTIME_DIR": str(folder)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"up\n"
        (bootstrap,) = await asyncio.to_thread(lambda: list(folder.glob("ringfence-run-*/envoy.json")))
        yield inbound_of(bootstrap)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def inbound_of(bootstrap: Path) -> int:
    """The port of `http`."""
    address: str = json.loads(bootstrap.read_text())["node"]["metadata"]["ringfence"]["inbound"]["http"]
    return int(address.rpartition(":")[2])


def counted(done: str) -> float:
    """What was done about certificates by unknown issuers, so often."""
    return MISSED_KEYS.labels("proxy", done)._value.get()


async def test_a_peer_by_an_authority_that_its_domain_just_made_is_accepted_soon(partners: Partners) -> None:
    """The first call is refused, and that refusal has the bundle fetched, minutes before its hint says so."""
    relation = partners.ours.parts.federation.state(THEIRS)
    assert relation.refreshed_at is not None
    assert (relation.next_at - relation.refreshed_at).total_seconds() > 60
    before = counted("fetched_early")
    await partners.theirs.admin.Rotate(pb.RotateRequest(authority=True))
    caller = partners.caller()

    assert await partners.status(caller) == 0
    assert await partners.accepted(caller) < _SOON
    assert await partners.status(caller) == 403  # known again, and as much a stranger as before

    assert counted("fetched_early") > before
    refused = await partners.refusal()
    assert refused.source == str(CALLER)
    assert "unable_to_get_local_issuer_certificate" in refused.attributes["tls.failure"]
    assert refused.point == decision.POINT_TLS


async def test_a_stranger_with_a_made_up_name_costs_one_fetch(partners: Partners) -> None:
    """It is refused again and again; the partner is asked once, and whoever has no relation with us never."""
    fetched, waits, refused = (counted(done) for done in ("fetched_early", "waits", "refused"))
    before = partners.ours.parts.federation.state(THEIRS)
    theirs, nobodys = Domain(THEIRS.name), Domain("evil.test")
    for _ in range(10):
        assert await partners.status(theirs.issue(CALLER)) == 0
        assert await partners.status(nobodys.issue(SpiffeId(nobodys.name, "/a"))) == 0
    async with asyncio.timeout(_PATIENCE):
        while counted("waits") - waits < 1 or counted("refused") - refused < 10:  # noqa: ASYNC110  # a number, no event
            await asyncio.sleep(0.02)
    asked = partners.ours.parts.federation.state(THEIRS)
    assert counted("fetched_early") - fetched <= 2  # at once, and once more when the bound allows it
    assert [state.relation for state in partners.ours.parts.federation.states] == [before.relation]
    assert asked.failure == ""
    assert await partners.status(partners.caller()) == 403
