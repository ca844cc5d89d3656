"""The agent API, by a grpcio client over real TLS."""

from __future__ import annotations

import pytest

from tests.broker.server.harness import running_server


async def test_starts(tmp_path):
    """x."""
    async with running_server(tmp_path) as server:
        entry = await server.create_entry("spiffe://example.org/ns/a/sa/b", "unix:uid:1000")
        assert entry.id
        print(await server.token(), server.bundle_pem)
