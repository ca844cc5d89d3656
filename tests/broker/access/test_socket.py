"""The admin socket, for users beside the server's own: by what the kernel says of whoever connected."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import grpc.aio
import pytest

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.access.access import AccessConfig
from ringfence.broker.access.rights import Grant, Match, Role
from ringfence.certs.errors import Kind
from ringfence.proto.client import Client
from ringfence.proto.service import service_of
from tests import parts
from tests.broker.server.harness import ServerUnderTest, failure, running_server

ANN, STRANGER = 54321, 54322
EDITOR = Grant(Role.EDITOR, Match(uid=ANN), frozenset({"team-a"}), "access.grant[0]")
STAFF = Grant(Role.VIEWER, Match(gid=ANN), name="access.grant[1]")


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that everybody may enter; only root can be somebody else."""
    parts.root()
    with tempfile.TemporaryDirectory() as made:
        path = Path(made)
        path.chmod(0o755)
        yield path


@contextmanager
def _being(uid: int, gid: int) -> Iterator[None]:
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@asynccontextmanager
async def connected(server: ServerUnderTest, uid: int, gid: int) -> AsyncIterator[Client]:
    """A client whose connection was made by that user; what the process is later does not count."""
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.insecure_channel(f"unix:{server.admin_socket}", options=options) as channel:
        with _being(uid, gid):
            await channel.channel_ready()
        yield Client(channel, service_of(pb, "Server"))


def asks(namespace: str) -> pb.CreateEntriesRequest:
    """For an entry."""
    name = f"spiffe://example.org/ns/{namespace}/sa/x"
    return pb.CreateEntriesRequest(entries=[pb.Entry(spiffe_id=name, selectors=["unix:uid:1"])])


async def test_users_have_the_roles_that_they_were_granted(folder: Path, tmp_path: Path) -> None:
    """By uid and by group; others are told who they are, and nothing else."""
    access = AccessConfig(grants=(EDITOR, STAFF))
    async with running_server(tmp_path, access=access, admin_socket=folder / "admin.sock") as server:
        assert (folder / "admin.sock").stat().st_mode & 0o777 == 0o666
        async with connected(server, ANN, ANN) as client:
            me = await client.DescribeCaller(pb.DescribeCallerRequest())
            assert me.subject.startswith(f"uid:{ANN} pid:")
            assert (list(me.edits), me.views_all, me.admin) == (["team-a"], True, False)
            assert (await client.CreateEntries(asks("team-a"))).results[0].action == "created"
            error = await failure(client.CreateEntries(asks("team-b")))
            assert (error.kind, f"unix.uid = {ANN}" in error.hint) == (Kind.DENIED, True)
        async with connected(server, STRANGER, STRANGER) as client:
            assert not (await client.DescribeCaller(pb.DescribeCallerRequest())).because
            assert (await failure(client.Info(pb.InfoRequest()))).kind is Kind.DENIED


async def test_without_grants_to_users_the_socket_is_closed_to_them(folder: Path, tmp_path: Path) -> None:
    """By its mode, before anything is asked."""
    async with running_server(tmp_path, access=AccessConfig(), admin_socket=folder / "admin.sock"):
        assert (folder / "admin.sock").stat().st_mode & 0o777 == 0o600
