"""The admin API on --listen: by SVID and by OIDC token, against a real server and a real issuer over HTTPS."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.access.access import AccessConfig, IssuerConfig
from ringfence.broker.access.rights import Grant, Match, Role
from ringfence.broker.access.tokens import DEFAULT_ALGORITHMS
from ringfence.broker.address import Address
from ringfence.broker.config import Web
from ringfence.certs.errors import Kind
from ringfence.certs.spiffe_id import SpiffeId
from tests.broker.access.keys import AUDIENCE, EC, RSA, URL, claims, forged, key_set, token
from tests.broker.access.operators import admin, bearer, with_nothing, with_svid
from tests.broker.server.harness import ServerUnderTest, failure, running_server
from tests.broker.server.test_public import token_of
from tests.broker.web import WebAuthority
from tests.broker.world import Clock
from tests.ports import free_port

DEPLOYER = "spiffe://example.org/ns/team-a/sa/deployer"
EDITOR = Grant(Role.EDITOR, Match(spiffe_id=SpiffeId.parse(DEPLOYER)), frozenset({"team-a"}), "access.grant[0]")
LEADS = Grant(Role.VIEWER, Match(issuer=URL, claims={"groups": "leads"}), name="access.grant[1]")
OPEN = AccessConfig(network=True, grants=(EDITOR,))


def asks(namespace: str, **fields: Any) -> pb.CreateEntriesRequest:
    """For an entry."""
    name = f"spiffe://example.org/ns/{namespace}/sa/x"
    return pb.CreateEntriesRequest(entries=[pb.Entry(spiffe_id=name, selectors=["unix:uid:1"], **fields)])


def last_record(server: ServerUnderTest) -> dict[str, Any]:
    """Of the audit log."""
    found: dict[str, Any] = json.loads((server.data_dir / "audit.jsonl").read_text().splitlines()[-1])
    return found


async def test_an_editor_by_svid(tmp_path: Path) -> None:
    """Known by its SVID, held to its namespace, and recorded by name."""
    async with running_server(tmp_path, access=OPEN) as server, admin(with_svid(server, DEPLOYER)) as client:
        me = await client.DescribeCaller(pb.DescribeCallerRequest())
        assert (me.subject, me.admin, list(me.edits), list(me.because)) == (
            DEPLOYER,
            False,
            ["team-a"],
            ["access.grant[0]"],
        )
        made = await client.CreateEntries(asks("team-a"))
        assert made.results[0].action == "created"
        assert (last_record(server)["actor"], last_record(server)["result"]) == (DEPLOYER, "ok")
        error = await failure(client.CreateEntries(asks("team-b")))
        assert error.kind is Kind.DENIED
        assert last_record(server)["actor"] == DEPLOYER
        asked = pb.CheckAccessRequest(method="CreateEntries", namespace="team-b")
        answer = await client.CheckAccess(asked)
        assert not answer.allowed
        assert "takes an editor of the namespace team-b" in answer.detail
        asked.namespace = "team-a"
        assert (await client.CheckAccess(asked)).allowed
        error = await failure(client.CheckAccess(pb.CheckAccessRequest(method="CreateEntry")))
        assert (error.kind, error.hint) == (Kind.NOT_FOUND, "Did you mean CreateEntries?")


async def test_a_workload_without_a_grant_may_only_ask_who_it_is(tmp_path: Path) -> None:
    """Everybody in the mesh has an SVID; that alone is no role."""
    async with (
        running_server(tmp_path, access=OPEN) as server,
        admin(with_svid(server, "spiffe://example.org/ns/team-a/sa/deployer2")) as client,
    ):
        assert (await client.DescribeCaller(pb.DescribeCallerRequest())).subject.endswith("deployer2")
        error = await failure(client.Info(pb.InfoRequest()))
        assert (error.kind, "no role" in error.detail) == (Kind.DENIED, True)


async def test_an_entry_with_the_flag_admin_makes_its_holder_an_admin(tmp_path: Path) -> None:
    """As in SPIRE; also by a rule, until the entry ends, and no longer than it is there."""
    async with running_server(tmp_path, access=OPEN) as server, admin(with_svid(server, DEPLOYER)) as client:
        made = await server.create_entry(DEPLOYER, "unix:uid:1", admin=True)
        me = await client.DescribeCaller(pb.DescribeCallerRequest())
        assert (me.admin, list(me.because)) == (True, ["access.grant[0]", f"entry {made.id}"])
        await server.delete_entry(made.id)
        assert not (await client.DescribeCaller(pb.DescribeCallerRequest())).admin
        rule = await server.create_entry("spiffe://example.org/ns/team-a/sa/{k8s.sa}", admin=True)
        assert (await client.DescribeCaller(pb.DescribeCallerRequest())).admin
        await server.delete_entry(rule.id)
        await server.create_entry("spiffe://example.org/ns/team-a/sa/other", "unix:uid:1", admin=True)
        assert not (await client.DescribeCaller(pb.DescribeCallerRequest())).admin


async def test_nobody_and_more_than_one(tmp_path: Path) -> None:
    """No identity is refused, and so are two: it would be open whose call it is."""
    async with running_server(tmp_path, access=OPEN) as server:
        async with admin(with_nothing(server)) as client:
            error = await failure(client.DescribeCaller(pb.DescribeCallerRequest()))
            assert (error.kind, error.detail) == (Kind.UNAUTHENTICATED, "no identity was shown")
            metadata = (("authorization", "Basic eDp5"),)
            error = await failure(client.DescribeCaller(pb.DescribeCallerRequest(), metadata=metadata))
            assert "no single bearer token" in error.detail
            error = await failure(client.DescribeCaller(pb.DescribeCallerRequest(), metadata=bearer(token(claims()))))
            assert "issuer that is not configured" in error.detail
        async with admin(with_svid(server, DEPLOYER)) as client:
            error = await failure(client.DescribeCaller(pb.DescribeCallerRequest(), metadata=bearer("x.y.z")))
            assert (error.kind, "certificate and a token" in error.detail) == (Kind.UNAUTHENTICATED, True)


async def test_a_connection_outlives_no_svid(tmp_path: Path) -> None:
    """The same connection, once the SVID that it was opened with has ended."""
    clock = Clock()
    clock.now = datetime.now(UTC)
    async with (
        running_server(tmp_path, access=OPEN, clock=clock) as server,
        admin(with_svid(server, DEPLOYER, timedelta(minutes=10))) as client,
    ):
        assert await client.Info(pb.InfoRequest())
        clock.turn(minutes=11)
        error = await failure(client.Info(pb.InfoRequest()))
        assert error.kind is Kind.UNAUTHENTICATED


async def test_a_token_means_nothing_on_the_socket(tmp_path: Path) -> None:
    """There the kernel says who it is."""
    access = AccessConfig(network=True, grants=(LEADS,), issuers=(await _issuer_in_a_file(tmp_path),))
    async with running_server(tmp_path, access=access) as server:
        me = await server.admin.DescribeCaller(pb.DescribeCallerRequest(), metadata=bearer(token(claims())))
        assert me.subject.startswith("uid:")


async def _issuer_in_a_file(folder: Path) -> IssuerConfig:
    path = folder / "keys.json"
    await asyncio.to_thread(path.write_bytes, key_set(RSA, EC))
    return IssuerConfig(URL, AUDIENCE, DEFAULT_ALGORITHMS, path)


async def test_a_viewer_by_token(tmp_path: Path) -> None:
    """Of the group that the grant names; a viewer of everything changes nothing, and a forged token is nobody's."""
    access = AccessConfig(network=True, grants=(EDITOR, LEADS), issuers=(await _issuer_in_a_file(tmp_path),))
    async with running_server(tmp_path, access=access) as server, admin(with_nothing(server)) as client:
        now = datetime.now(UTC)
        good = bearer(token(claims(now)))
        await server.create_entry("spiffe://example.org/ns/team-b/sa/x", "unix:uid:1")
        me = await client.DescribeCaller(pb.DescribeCallerRequest(), metadata=good)
        assert (me.subject, me.views_all) == (f"oidc:ann@{URL}", True)
        assert len((await client.ListEntries(pb.ListEntriesRequest(), metadata=good)).entries) == 1
        error = await failure(client.CreateEntries(asks("team-a"), metadata=good))
        assert error.kind is Kind.DENIED
        assert f'oidc = {{issuer = "{URL}", claims = {{sub = "ann"}}}}' in error.hint
        assert last_record(server)["actor"] == f"oidc:ann@{URL}"
        outsider = bearer(token(claims(now, groups=["staff"])))
        error = await failure(client.ListEntries(pb.ListEntriesRequest(), metadata=outsider))
        assert error.kind is Kind.DENIED
        for bad in (forged(claims(now), RSA, "HS256"), token(claims(now, aud="other")), token(claims())):
            error = await failure(client.ListEntries(pb.ListEntriesRequest(), metadata=bearer(bad)))
            assert error.kind is Kind.UNAUTHENTICATED
            assert bad not in (server.data_dir / "audit.jsonl").read_text()


@asynccontextmanager
async def issuing_server(folder: Path, web: WebAuthority) -> AsyncIterator[tuple[ServerUnderTest, str]]:
    """Another Ringfence, whose OIDC discovery over HTTPS makes it an issuer."""
    (folder / "other").mkdir()
    files = await asyncio.to_thread(web.issue, folder, "localhost", "127.0.0.1")
    port = free_port()
    url = f"https://127.0.0.1:{port}/cluster-a"
    oidc = Web(Address("127.0.0.1", port), files)
    async with running_server(folder / "other", oidc=oidc, oidc_issuer=url) as server:
        yield server, url


async def test_tokens_of_a_real_issuer_by_discovery_over_https(tmp_path: Path) -> None:
    """Keys by way of its metadata; away, or vouched for by none of our roots, it is not believed."""
    web = WebAuthority()
    roots = tmp_path / "roots.pem"
    roots.write_bytes(web.root())
    async with issuing_server(tmp_path, web) as (other, url):
        trainer = "spiffe://example.org/ns/a/sa/trainer"
        grant = Grant(Role.EDITOR, Match(issuer=url, claims={"sub": trainer}), frozenset({"team-a"}), "g")
        issuer = IssuerConfig(url, AUDIENCE, DEFAULT_ALGORITHMS, roots=roots)
        access = AccessConfig(network=True, grants=(grant,), issuers=(issuer,))
        good = bearer(await token_of(other, AUDIENCE))
        async with running_server(tmp_path, access=access) as server, admin(with_nothing(server)) as client:
            me = await client.DescribeCaller(pb.DescribeCallerRequest(), metadata=good)
            assert (me.subject, list(me.edits)) == (f"oidc:{trainer}@{url}", ["team-a"])
            assert (await client.CreateEntries(asks("team-a"), metadata=good)).results
        strangers = replace(access, issuers=(replace(issuer, roots=None),))
        async with running_server(tmp_path, access=strangers) as server, admin(with_nothing(server)) as client:
            error = await failure(client.DescribeCaller(pb.DescribeCallerRequest(), metadata=good))
            assert error.kind is Kind.UNAVAILABLE
            assert "certificate" in error.detail
    async with running_server(tmp_path, access=access) as server, admin(with_nothing(server)) as client:
        error = await failure(client.DescribeCaller(pb.DescribeCallerRequest(), metadata=good))
        assert error.kind is Kind.UNAVAILABLE  # no answer is no yes


@pytest.mark.parametrize("network", [True, False])
async def test_the_network_is_opened_by_its_setting_alone(tmp_path: Path, *, network: bool) -> None:
    """Grants by themselves put nothing on --listen."""
    access = replace(OPEN, network=network)
    async with running_server(tmp_path, access=access) as server, admin(with_svid(server, DEPLOYER)) as client:
        if network:
            assert await client.Info(pb.InfoRequest())
        else:
            assert (await failure(client.Info(pb.InfoRequest()))).kind is Kind.UNIMPLEMENTED
