"""Bundle maps through Envoy's own reader, which is stricter than the standard."""

from __future__ import annotations

import asyncio
import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ringfence.certs.authority import Authority
from ringfence.certs.bundle_map import write_map, x509_only
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.spiffe_id import TrustDomain
from tests import parts

pytestmark = pytest.mark.envoy

_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."
_NOW = datetime.now(UTC)
_BUNDLES = [
    Authority.create(TrustDomain(name), MemoryKeys(), now=_NOW).bundle(1) for name in ("example.org", "other.org")
]


async def _validated(folder: Path, text: bytes) -> tuple[int, str]:
    """What Envoy says of a cluster whose peers are judged by the map *text*."""
    file = folder / "map.json"
    file.write_bytes(text)
    validator = {"@type": f"{_TLS}SPIFFECertValidatorConfig", "trust_bundles": {"filename": str(file)}}
    custom = {"name": "envoy.tls.cert_validator.spiffe", "typed_config": validator}
    context = {"validation_context": {"custom_validator_config": custom}}
    tls = {"@type": f"{_TLS}UpstreamTlsContext", "common_tls_context": context}
    cluster = {
        "name": "c",
        "load_assignment": {"cluster_name": "c", "endpoints": []},
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
    }
    config = folder / "envoy.json"
    config.write_text(json.dumps({"static_resources": {"clusters": [cluster]}}))
    command = [parts.envoy(), "--mode", "validate", "-c", str(config), "-l", "warning"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


async def test_1_7_6_the_map_for_x509_feeds_envoy(tmp_path: Path) -> None:
    """It reads what `x509-map` and `svid write` give; a broken one it refuses, so it did read it."""
    assert (await _validated(tmp_path, write_map(map(x509_only, _BUNDLES))))[0] == 0
    broken = write_map(map(x509_only, _BUNDLES)).replace(b'"x5c":["', b'"x5c":["AAAA')
    assert (await _validated(tmp_path, broken))[0] != 0


async def test_1_7_6_envoy_refuses_a_map_with_keys_of_tokens(tmp_path: Path) -> None:
    """Which is why there are two forms: once it takes the whole one, the other may go."""
    code, said = await _validated(tmp_path, write_map(_BUNDLES))
    assert code != 0
    assert "'use' field" in said
