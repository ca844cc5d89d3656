"""What would keep a server from starting, said without starting one."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from ringfence.broker.access.access import AccessConfig, IssuerConfig
from ringfence.broker.address import Address
from ringfence.broker.config import DATABASE, ServerConfig
from ringfence.broker.keys.choice import KeyChoice
from ringfence.broker.server.validate import Check, validate
from ringfence.broker.store import authority
from ringfence.broker.store.engine import Store
from ringfence.broker.store.location import Location
from ringfence.broker.store.migrate import HEAD
from ringfence.certs.keys.disk import DiskKeys
from ringfence.certs.spiffe_id import TrustDomain
from tests.certs.factory import Ca
from tests.kubernetes import kubeconfig_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def checks(folder: Path, **options: Any) -> dict[str, Check]:
    """By name; *options* are fields of the configuration."""
    config = ServerConfig(TrustDomain("example.org"), folder, Address("127.0.0.1", 0), **options)
    return {check.name: check for check in await asyncio.to_thread(validate, config, NOW)}


async def test_what_is_not_there_yet_will_be_made(tmp_path: Path) -> None:
    """And is not made now."""
    found = await checks(tmp_path / "data")
    assert all(check.ok for check in found.values())
    assert found["database"].detail.endswith(f"schema {HEAD} will be made")
    assert not (tmp_path / "data").exists()


async def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    """A file for a folder, no database, no intent: three answers, not one."""
    (tmp_path / "data").touch()
    (tmp_path / "intent").mkdir()
    silent = Location.parse("postgresql://me:hunter2@127.0.0.1:1/d")
    found = await checks(tmp_path / "data", database=silent, intent=tmp_path / "intent")
    assert [name for name, check in found.items() if not check.ok] == ["data directory", "database", "intent"]
    assert "does not answer (Connection refused)" in found["database"].detail
    assert "hunter2" not in str(found)


async def test_another_trust_domain_is_found(tmp_path: Path) -> None:
    """Before the server would refuse it."""
    store = await Store.open(tmp_path / DATABASE)
    await store.run(authority.save, "self", {"trust_domain": "other.org"})
    await store.close()
    found = await checks(tmp_path)
    assert not found["database"].ok
    assert "other.org" in found["database"].detail


async def test_what_nodes_prove_themselves_by_is_read(tmp_path: Path) -> None:
    """Authorities and clusters, each by the file that is wrong."""
    ca, clusters = tmp_path / "ca.pem", tmp_path / "clusters.toml"
    ca.write_bytes(Ca().certificate.public_bytes(Encoding.PEM))
    (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig_of({"server": "https://127.0.0.1:1"})))
    clusters.write_text('[clusters.prod]\nservice_accounts = ["a:b"]\nkubeconfig = "kubeconfig"\n')
    files = {"x509pop_ca": (ca,), "k8s_clusters": clusters, "tpm_devid_ca": (ca,), "tpm_ek_ca": (ca,)}
    found = await checks(tmp_path / "data", **files)
    assert (found["x509pop"].detail, found["k8s_psat"].detail) == ("1 authorities of nodes", f"{clusters}: prod")
    assert (found["tpm_devid"].detail, found["tpm_ek"].detail) == ("1 authorities of nodes", "1 authorities of TPMs")
    for path in (ca, clusters):
        path.write_text("nonsense")
    found = await checks(tmp_path / "data", **files)
    for name, path in (("x509pop", ca), ("k8s_psat", clusters), ("tpm_devid", ca), ("tpm_ek", ca)):
        assert not found[name].ok
        assert str(path) in found[name].detail


async def test_intent_is_judged_as_a_server_would(tmp_path: Path) -> None:
    """By its findings, and by whose it is."""
    (tmp_path / "mesh.yaml").write_text("kind: Nonsense\n")
    found = await checks(tmp_path / "data", intent=tmp_path)
    assert not found["intent"].ok
    assert "RF1" in found["intent"].detail
    (tmp_path / "mesh.yaml").write_text(
        "apiVersion: ringfence.dev/v1alpha1\nkind: Mesh\nmetadata: {name: mesh}\nspec: {trustDomain: other.org}\n"
    )
    found = await checks(tmp_path / "data", intent=tmp_path)
    assert "other.org" in found["intent"].detail
    assert not found["intent"].ok


async def test_keys_have_to_open_with_the_passphrase_given(tmp_path: Path) -> None:
    """With another one, or none, a server would not start; and nothing is made or encrypted on the way."""
    data, given, other = tmp_path / "data", tmp_path / "given", tmp_path / "other"
    for path in (given, other):
        path.write_text(path.name)
        path.chmod(0o600)
    with_given = KeyChoice(passphrase_file=given)
    assert "will be made" in (await checks(data, keys=with_given))["keys"].detail
    assert not data.exists()
    DiskKeys(data / "keys", b"given").generate("a")
    assert (await checks(data, keys=with_given))["keys"].detail == f"{data / 'keys'}: 1, encrypted"
    for choice, why in ((KeyChoice(), "without a passphrase"), (KeyChoice(passphrase_file=other), "with this")):
        found = await checks(data, keys=choice)
        assert (found["keys"].ok, why in found["keys"].detail) == (False, True)


async def test_access_is_counted_and_its_keys_are_read(tmp_path: Path) -> None:
    """A file of an issuer's keys that holds none would deny everybody who comes with a token."""
    found = await checks(tmp_path / "data", access=AccessConfig(network=True))
    assert found["access"].detail == "grants: 0, issuers: 0, on the admin socket and --listen"
    (tmp_path / "keys.json").write_text('{"keys": []}')
    issuer = IssuerConfig("https://idp.example.org", "ringfence", ("RS256",), tmp_path / "keys.json")
    found = await checks(tmp_path / "data", access=AccessConfig(network=True, issuers=(issuer,)))
    assert not found["access"].ok
    assert "it holds no public key" in found["access"].detail


async def test_signers_need_keys_that_they_can_open(tmp_path: Path) -> None:
    """Those in memory are the server's own; without signers nothing is said of them."""
    memory = KeyChoice("memory")
    refused = (await checks(tmp_path, keys=memory, signers=2))["signers"]
    assert (refused.ok, "--signers needs keys that another process can open" in refused.detail) == (False, True)
    taken = (await checks(tmp_path, signers=2))["signers"]
    assert (taken.ok, taken.detail) == (True, "2 processes")
    assert "signers" not in await checks(tmp_path, keys=memory)
