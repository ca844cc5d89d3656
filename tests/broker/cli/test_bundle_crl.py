"""`ringfence bundle crl`."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from ringfence.admin.v1 import admin_pb2 as pb
from tests.broker.cli.operator import ringfence
from tests.broker.server.harness import ServerUnderTest, running_server
from tests.broker.server.node import TRAINER, joined
from tests.broker.server.test_revocation import issued, revoke

pytestmark = pytest.mark.e2e


async def revoked(server: ServerUnderTest) -> tuple[bytes, str]:
    """A leaf (DER) that was issued and revoked, and its serial."""
    entry, node = await server.create_entry(TRAINER, "unix:uid:1"), await joined(server)
    async with node.connected() as stream:
        workload, serial = await issued(stream, entry.id)
        await revoke(server, serials=[serial])
    return workload.chain[0], serial


async def openssl(*arguments: str | Path) -> tuple[int, str]:
    """Exit code and all output."""
    command = ["openssl", *map(str, arguments)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


async def test_openssl_refuses_by_the_file_what_was_revoked(tmp_path: Path) -> None:
    """PEM for verifying, DER with the same list; both whole and readable by all."""
    async with running_server(tmp_path) as server:
        leaf, serial = await revoked(server)
        where, pem, der = ("--data-dir", server.data_dir), tmp_path / "crl.pem", tmp_path / "crl.der"
        assert (await ringfence("bundle", "crl", "--out", pem, *where)).code == 0
        assert (await ringfence("bundle", "crl", "--format", "der", "--out", der, *where)).code == 0
        printed = await ringfence("bundle", "crl", *where)
        roots, certificate = tmp_path / "roots.pem", tmp_path / "leaf.der"
        roots.write_bytes(server.bundle_pem)
        certificate.write_bytes(leaf)
        code, said = await openssl("verify", "-CAfile", roots, "-crl_check", "-CRLfile", pem, certificate)
        assert (code, "certificate revoked" in said) == (2, True)
        code, shown = await openssl("crl", "-inform", "DER", "-in", der, "-noout", "-text", "-CAfile", roots)
        assert (code, "verify OK" in shown, serial.upper().lstrip("0") in shown) == (0, True, True)
        code, again = await openssl("crl", "-in", pem, "-noout", "-text", "-CAfile", roots)
        assert (code, again) == (0, shown)
        assert printed.out == pem.read_text()
        assert {pem.stat().st_mode & 0o777, der.stat().st_mode & 0o777} == {0o644}


async def test_what_is_not_there_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    """No list at all, none of that authority: NOT_FOUND, with the next step."""
    file = tmp_path / "crl.pem"
    file.write_text("before")
    async with running_server(tmp_path) as server:
        where = ("--data-dir", server.data_dir)
        none = await ringfence("bundle", "crl", "--out", file, *where)
        assert (none.code, "there is no revocation list" in none.err) == (1, True)
        await revoked(server)
        other = await ringfence("bundle", "crl", "--authority", "aa", "--out", file, *where)
        assert (other.code, "the authority aa has no revocation list" in other.err) == (1, True)
    assert file.read_text() == "before"


async def test_of_several_authorities_der_takes_one(tmp_path: Path) -> None:
    """Two roots after a rotation, each with a list: PEM holds both, DER the one named."""
    async with running_server(tmp_path) as server:
        where = ("--data-dir", server.data_dir)
        first = server.parts.trust.authority.x509.current.id
        await revoked(server)
        await server.admin.Rotate(pb.RotateRequest(authority=True))
        entry, node = await server.create_entry("spiffe://example.org/another", "unix:uid:1"), await joined(server)
        async with node.connected() as stream:
            _, serial = await issued(stream, entry.id)
        await revoke(server, serials=[serial])
        assert (await ringfence("bundle", "crl", *where)).out.count("BEGIN X509 CRL") == 2
        refused = await ringfence("bundle", "crl", "--format", "der", "--out", tmp_path / "x.der", *where)
        assert (refused.code, "2 lists, and DER holds one" in refused.err) == (4, True)
        one = await ringfence("bundle", "crl", "--format", "der", "--authority", first, "--out", tmp_path / "x", *where)
        assert one.code == 0
        held = {
            each.authority: each.crl for each in (await server.admin.ListRevocations(pb.ListRevocationsRequest())).lists
        }
        assert (tmp_path / "x").read_bytes() == held[first]
