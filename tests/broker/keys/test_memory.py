"""Keys in memory: a server that writes none anywhere, and what a restart of it means."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ringfence.broker.keys.choice import KeyChoice
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.certs.svid import verify_peer
from tests.broker.server.harness import TRUST_DOMAIN, ServerUnderTest, running_server

MEMORY = KeyChoice("memory")


async def leaf(server: ServerUnderTest) -> tuple[bytes, ...]:
    """An SVID signed now."""
    spiffe_id = SpiffeId(TRUST_DOMAIN, "/ringfence/server")
    return await server.parts.issuer.own_svid(spiffe_id, ec.generate_private_key(ec.SECP256R1()).public_key())


async def test_a_restart_begins_a_new_authority_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The bundle goes on with the next sequence; what the one before signed is believed by nobody."""
    async with running_server(tmp_path, keys=MEMORY) as server:
        before, chain = await server.bundle(), await leaf(server)
    assert "ended with it" not in capsys.readouterr().out
    async with running_server(tmp_path, keys=MEMORY) as server:
        after = await server.bundle()
        assert verify_peer(await leaf(server), after, now=server.parts.clock())
        with pytest.raises(RingfenceError) as caught:
            verify_peer(chain, after, now=server.parts.clock())
        assert caught.value.kind is Kind.UNAUTHENTICATED
    assert "ended with it" in capsys.readouterr().out
    assert after.sequence > before.sequence
    assert not set(after.jwt_authorities) & set(before.jwt_authorities)


async def test_no_key_is_written(tmp_path: Path) -> None:
    """Not into the folder of keys, which is not even made, nor anywhere else."""
    async with running_server(tmp_path, keys=MEMORY) as server:
        files = [path for path in server.data_dir.rglob("*") if path.is_file()]
        assert not (server.data_dir / "keys").exists()
        assert not [path for path in files if b"PRIVATE KEY" in path.read_bytes()]


async def test_the_folder_of_another_trust_domain_is_not_taken(tmp_path: Path) -> None:
    """Although nothing of its authority is left."""
    async with running_server(tmp_path, keys=MEMORY):
        pass
    with pytest.raises(RingfenceError, match="belongs to the trust domain"):
        async with running_server(tmp_path, keys=MEMORY, trust_domain=TrustDomain("other.org")):
            pass


def test_a_passphrase_is_for_keys_on_disk() -> None:
    """Whoever gives one expects that it protects something."""
    with pytest.raises(RingfenceError) as caught:
        KeyChoice("memory", passphrase_file=Path("x"))
    assert caught.value.kind is Kind.INVALID
