"""`ringfence server`, `token` and `bundle`."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.certs.bundle import SpiffeBundle
from tests.broker.cli.operator import ringfence
from tests.broker.server.harness import TRUST_DOMAIN, running_server, server_process
from tests.ports import free_port

pytestmark = pytest.mark.e2e


async def test_operators_see_health_tokens_and_bundles(tmp_path: Path) -> None:
    """In the forms that scripts rely on."""
    async with running_server(tmp_path) as server:
        where = ("--data-dir", server.data_dir)
        health = await ringfence("server", "healthcheck", *where, "-o", "json")
        assert (health.code, health.json["ready"]) == (0, True)
        token = await ringfence("token", "generate", "--ttl", "1m", *where, "-o", "json")
        assert len(token.json["token"]) >= 40
        pem = await ringfence("bundle", "show", "--format", "pem", *where)
        assert pem.out.encode() == server.bundle_pem
        spiffe = await ringfence("bundle", "show", "--format", "spiffe", *where)
        assert SpiffeBundle.parse(TRUST_DOMAIN, spiffe.out.encode()) == await server.bundle()
        rotated = await ringfence("server", "rotate", "--authority", *where, "-o", "json")
        listed = await ringfence("server", "authorities", *where, "-o", "json")
        current = [a["id"] for a in listed.json["items"] if a["slot"] == "current" and a["kind"] == "x509"]
        assert current == [rotated.json["authority"]]


async def test_a_file_and_the_environment_stand_in_for_flags(tmp_path: Path) -> None:
    """Flag over environment over file; an unknown setting is named, a missing one is bad usage."""
    config = tmp_path / "server.toml"
    config.write_text('trust_domain = "example.org"\nlistne = "127.0.0.1:1"\n')
    unknown = await ringfence("server", "run", "--config", config)
    assert unknown.code == 4
    assert "listne" in unknown.err
    config.write_text('trust_domain = "example.org"\nlisten = "nonsense"\n')
    missing = await ringfence("server", "run", "--config", config)
    assert missing.code == 2
    assert "--data-dir" in missing.err
    bad = await ringfence("server", "run", "--config", config, "--data-dir", tmp_path / "d")
    assert bad.code == 4
    assert "--listen" in bad.err
    port = await ringfence(
        "server", "run", "--config", config, "--data-dir", tmp_path / "d", RINGFENCE_LISTEN="127.0.0.1:99999"
    )
    assert "99999" in port.err
    broken = tmp_path / "broken.toml"
    broken.write_text("= nothing")
    assert (await ringfence("server", "run", "--config", broken)).code == 4


@pytest.mark.slow
async def test_the_process_ends_at_sigterm_with_0(tmp_path: Path) -> None:
    """Drained, its sockets and its lock gone, its log JSON."""
    async with server_process(tmp_path, port=free_port(), http_port=free_port()) as server:
        assert await server.token()
        process = server.process
    assert process is not None
    assert process.returncode == 0
    assert not server.admin_socket.exists()
    lines = (tmp_path / "server.log").read_text().splitlines()
    assert all(line.startswith("{") for line in lines)
    assert '"msg": "stopping"' in lines[-1]
