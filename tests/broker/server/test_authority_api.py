"""The five-step life of authorities by the admin API, as agents hear of it, and over restarts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.agent.v1 import agent_pb2 as agent
from ringfence.broker.server.daemon import system_clock
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.profile import new_csr
from ringfence.certs.svid import verify_peer
from tests.broker.server.harness import TRUST_DOMAIN, ServerUnderTest, running_server, server_process
from tests.broker.server.node import Node
from tests.broker.server.test_audit import records
from tests.ports import free_port

KINDS = ("x509", "jwt")


async def step(server: ServerUnderTest, kind: str, name: str, authority_id: str = "") -> pb.StepAuthorityResponse:
    """One step by hand."""
    done: pb.StepAuthorityResponse = await server.admin.StepAuthority(
        pb.StepAuthorityRequest(kind=kind, step=name, id=authority_id), timeout=20
    )
    return done


async def shown(server: ServerUnderTest, kind: str) -> dict[str, str]:
    """State by id."""
    found = await server.admin.ShowAuthorities(pb.ShowAuthoritiesRequest(), wait_for_ready=True, timeout=20)
    return {one.id: one.state for one in found.authorities if one.kind == kind}


async def joined(server: ServerUnderTest) -> Node:
    """An attested node."""
    node = Node(server.address, server.bundle_pem)
    await node.attest(await server.token())
    return node


def ids(kind: str, bundle: SpiffeBundle) -> int:
    """How many keys of *kind* it publishes."""
    kinds = {"x509": bundle.x509_authorities, "jwt": bundle.jwt_authorities, "wit": bundle.wit_authorities}
    return len(kinds[kind])


@pytest.mark.parametrize("kind", [*KINDS, "wit"])
async def test_the_five_steps_reach_a_connected_agent(tmp_path: Path, kind: str) -> None:
    """Published before use, renewed at activation, renewed by name at a taint, gone from the bundle when revoked."""
    async with running_server(tmp_path, features=frozenset({"wit-svid"})) as server:
        node = await joined(server)
        async with node.connected() as stream:
            await stream.hear("entries")

            async def bundle() -> SpiffeBundle:
                return SpiffeBundle.parse(TRUST_DOMAIN, (await stream.hear("bundle")).bundle)

            [first] = await shown(server, kind)
            prepared = await step(server, kind, "prepare")
            second = prepared.authority.id
            assert (prepared.authority.state, prepared.agents) == ("prepared", 1)
            update = await bundle()
            while ids(kind, update) < 2:
                update = await bundle()
            assert (await step(server, kind, "activate", second)).authority.state == "active"
            assert not (await stream.hear("rotate")).authorities
            assert await shown(server, kind) == {second: "active", first: "old"}
            await stream.say(renew=agent.RenewRequest(id=1, csr=new_csr(node.key)))
            node.chain = list((await stream.hear("renew")).chain)
            assert (await step(server, kind, "taint", first)).authority.state == "tainted"
            assert list((await stream.hear("rotate")).authorities) == [first]
            revoked = await step(server, kind, "revoke", first)
            assert revoked.authority.state == "revoked"
            update = await bundle()
            while update.sequence < revoked.sequence:
                update = await bundle()
            assert ids(kind, update) == 1
            assert update == await server.bundle()
            assert await shown(server, kind) == {second: "active"}
        assert verify_peer(node.chain, update, now=system_clock())


@pytest.mark.parametrize("kind", KINDS)
async def test_a_wrong_order_is_a_conflict_and_changes_nothing(tmp_path: Path, kind: str) -> None:
    """In words that say which state would be right; an unknown kind, step or id too."""
    async with running_server(tmp_path) as server:
        [first] = await shown(server, kind)
        before = await server.bundle()
        failed, missing = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND
        wrong: list[tuple[str, str, str, grpc.StatusCode, str]] = [
            (kind, "activate", "", failed, f"no next {kind} authority is prepared"),
            (kind, "activate", first, failed, "is active: only a prepared one can be activated"),
            (kind, "taint", first, failed, "is active: only an old one can be tainted"),
            (kind, "revoke", first, failed, "is active: only a tainted one can be revoked"),
            (kind, "taint", "beef", missing, f"there is no {kind} authority beef"),
            (kind, "forget", first, grpc.StatusCode.INVALID_ARGUMENT, "is no step"),
            ("x510", "taint", first, grpc.StatusCode.INVALID_ARGUMENT, "is no kind"),
        ]
        for said_kind, name, authority_id, code, words in wrong:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await step(server, said_kind, name, authority_id)
            assert words in str(caught.value.details())
            assert caught.value.code() in {code, grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.ABORTED}
        assert await server.bundle() == before


async def test_an_agent_that_was_away_hears_of_a_taint_when_it_connects(tmp_path: Path) -> None:
    """And only of those that are tainted still."""
    async with running_server(tmp_path) as server:
        node = await joined(server)
        [first] = await shown(server, "x509")
        await step(server, "x509", "prepare")
        await step(server, "x509", "activate")
        await step(server, "x509", "taint")
        node.roots = server.bundle_pem
        async with node.connected() as stream:
            assert list((await stream.hear("rotate")).authorities) == [first]


async def test_a_revoked_authoritys_agents_are_cut_off(tmp_path: Path) -> None:
    """An agent that did not renew in time loses its stream at once, and may not come back with that SVID."""
    async with running_server(tmp_path) as server:
        node = await joined(server)
        async with node.connected() as stream:
            await stream.hear("entries")
            for name in ("prepare", "activate", "taint", "revoke"):
                await step(server, "x509", name)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stream.hear("jwt")
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert "was revoked" in str(caught.value.details())
        node.roots = server.bundle_pem
        with pytest.raises((grpc.aio.AioRpcError, AssertionError)):
            async with node.connected() as stream:
                await stream.hear("entries")


@pytest.mark.e2e
@pytest.mark.slow
async def test_a_kill_after_any_step_resumes_there(tmp_path: Path) -> None:
    """SIGKILL as soon as a step is answered: the restarted server shows the same states, bundle and tainted ids."""
    port, http = free_port(), free_port()
    states: dict[str, dict[str, str]] = {}
    bundle: SpiffeBundle | None = None
    chain: list[bytes] = []
    for name in ("prepare", "activate", "taint", "revoke", ""):
        async with server_process(tmp_path, port=port, http_port=http) as server:
            if bundle is not None:
                assert await server.bundle() == bundle
                assert {kind: await shown(server, kind) for kind in KINDS} == states
            node = await joined(server)
            if name == "revoke":
                async with node.connected() as stream:
                    told = set((await stream.hear("rotate")).authorities)
                assert told == {i for kind in KINDS for i, state in states[kind].items() if state == "tainted"}
                assert verify_peer(chain, await server.bundle(), now=system_clock())
            if name == "":
                break
            for kind in KINDS:
                await step(server, kind, name)
            if name == "prepare":
                chain = node.chain  # signed by the one that will be revoked
            states = {kind: await shown(server, kind) for kind in KINDS}
            bundle = await server.bundle()
            assert server.process is not None
            server.process.kill()
            await server.process.wait()
    assert [list(states[kind].values()) for kind in KINDS] == [["active"], ["active"]]


@pytest.mark.e2e
@pytest.mark.slow
async def test_a_kill_in_the_middle_of_a_step_leaves_one_side_of_it(tmp_path: Path) -> None:
    """Whatever the moment: after the restart the step was taken or it was not, it can be taken, and SVIDs verify."""
    port, http = free_port(), free_port()
    for number, name in enumerate(["prepare", "activate", "taint", "revoke"]):
        async with server_process(tmp_path, port=port, http_port=http) as server:
            await _catch_up(server, name)
            asked = asyncio.create_task(step(server, "x509", name))
            await asyncio.sleep(0)  # the request is on its way
            await _some_traffic(server, number)
            assert server.process is not None
            server.process.kill()
            await server.process.wait()
            await asyncio.gather(asked, return_exceptions=True)
    async with server_process(tmp_path, port=port, http_port=http) as server:
        node = Node(server.address, server.bundle_pem)
        node.key = ec.generate_private_key(ec.SECP256R1())
        await node.attest(await server.token())
        assert verify_peer(node.chain, await server.bundle(), now=system_clock())


async def _catch_up(server: ServerUnderTest, name: str) -> None:
    """Take the steps before *name* that a kill may have kept from being taken."""
    wanted: dict[str, tuple[str, list[str]]] = {
        "activate": ("prepared", ["prepare"]),
        "taint": ("old", ["prepare", "activate"]),
        "revoke": ("tainted", ["prepare", "activate", "taint"]),
    }
    if name == "prepare":
        if "prepared" in (await shown(server, "x509")).values():
            await step(server, "x509", "activate")
        return
    state, steps = wanted[name]
    for before in steps:
        states = await shown(server, "x509")
        if state in states.values():
            return
        if before == "prepare" and "prepared" in states.values():
            continue
        named = next((i for i, s in states.items() if s == {"taint": "old", "activate": "prepared"}.get(before)), "")
        await step(server, "x509", before, named)


async def _some_traffic(server: ServerUnderTest, turns: int) -> Any:
    """A number of calls that differs from round to round, so that the kill comes at another moment."""
    for _ in range(turns):
        await server.admin.Info(pb.InfoRequest())


@pytest.mark.parametrize("kind", [*KINDS, "wit"])
async def test_each_step_can_be_tried_first(tmp_path: Path, kind: str) -> None:
    """A dry run says what the step would leave, or refuses as the step would, and changes and records nothing."""
    async with running_server(tmp_path, features=frozenset({"wit-svid"})) as server:

        async def tried(name: str) -> pb.StepAuthorityResponse:
            before = await shown(server, kind), server.parts.trust.bundle, await records(server.data_dir)
            request = pb.StepAuthorityRequest(kind=kind, step=name, dry_run=True)
            try:
                said: pb.StepAuthorityResponse = await server.admin.StepAuthority(request, timeout=20)
            finally:
                assert before == (await shown(server, kind), server.parts.trust.bundle, await records(server.data_dir))
            return said

        refusals = {"activate": "prepared", "taint": "are old", "revoke": "are tainted", "burn": "no step"}
        for name, why in refusals.items():
            with pytest.raises(grpc.aio.AioRpcError, match=why):
                await tried(name)
        states = {"prepare": "prepared", "activate": "active", "taint": "tainted", "revoke": "revoked"}
        for name, after in states.items():
            said, done = await tried(name), await step(server, kind, name)
            assert said.sequence == done.sequence - 1
            unmade = pb.Authority(kind=kind, slot="next", state="prepared")
            assert said.authority == (unmade if name == "prepare" else done.authority)
            assert said.authority.state == after
            if name == "prepare":
                with pytest.raises(grpc.aio.AioRpcError, match="prepared already"):
                    await tried(name)
