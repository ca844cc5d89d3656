"""An operator's root above ours: chains, caps, refusals; judged by openssl, and by agents of a running server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.upstream import DiskUpstream, upstream_of
from ringfence.certs.authority import Authority
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.svid import parse_svid, verify_peer
from ringfence.proto import workload
from tests.broker.agent.harness import HEADER, OWN_UID, running_agent, workload_client
from tests.broker.server.harness import running_server
from tests.ca import Pki, new_pki, openssl
from tests.certs.material import HOUR, TD, TRAINER, new_key


def now() -> datetime:
    """What openssl signs begins at the full second, so tests take the real one."""
    return datetime.now(UTC) + timedelta(seconds=1)


def upstream(pki: Pki) -> DiskUpstream:
    """As the options name it."""
    return DiskUpstream(pki.signing, pki.key, pki.root)


def authority_below(pki: Pki, **options: timedelta) -> Authority:
    """A first generation."""
    return Authority.create(TD, MemoryKeys(), now=now(), upstream=upstream(pki), **options)


def root_der(pki: Pki) -> bytes:
    """The operator's root."""
    return x509.load_pem_x509_certificate(pki.root.read_bytes()).public_bytes(Encoding.DER)


def pem(*chain: bytes) -> bytes:
    """As PEM, one after the other."""
    return b"".join(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in chain)


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_openssl_verifies_a_leaf_through_our_intermediate_to_the_operators_root(tmp_path: Path, kind: str) -> None:
    """The chain is leaf, ours, the operator's signing authority; the bundle is the root alone."""
    pki = new_pki(tmp_path, kind=kind)
    authority = authority_below(pki)
    chain = authority.issue_x509(TRAINER, new_key().public_key(), now=now(), ttl=HOUR)
    assert len(chain) == 3
    assert authority.bundle(1).x509_authorities == (root_der(pki),)
    assert verify_peer(chain, authority.bundle(1), now=now()) == TRAINER
    leaf, others, roots = tmp_path / "leaf.pem", tmp_path / "others.pem", tmp_path / "bundle.pem"
    leaf.write_bytes(pem(chain[0]))
    others.write_bytes(pem(*chain[1:]))
    roots.write_bytes(authority.bundle(1).x509_pem())
    said = openssl("verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", roots, "-untrusted", others, leaf)
    assert "OK" in said


def test_a_root_that_signs_us_itself_is_left_out_of_the_chain(tmp_path: Path) -> None:
    """Without --upstream-roots the signing certificate is the root."""
    pki = new_pki(tmp_path)
    authority = Authority.create(TD, MemoryKeys(), now=now(), upstream=DiskUpstream(pki.root, pki.root_key))
    chain = authority.issue_x509(TRAINER, new_key().public_key(), now=now(), ttl=HOUR)
    assert len(chain) == 2
    assert authority.bundle(1).x509_authorities == (root_der(pki),)
    assert verify_peer(chain, authority.bundle(1), now=now()) == TRAINER


def test_nothing_outlives_the_upstream(tmp_path: Path) -> None:
    """Neither our intermediate nor a leaf, whatever their ttl; and an upstream that has ended signs nothing."""
    pki = new_pki(tmp_path, days=1)
    end = x509.load_pem_x509_certificate(pki.signing.read_bytes()).not_valid_after_utc
    authority = authority_below(pki, ca_ttl=timedelta(days=365))
    assert authority.current.x509.not_after == end
    chain = authority.issue_x509(TRAINER, new_key().public_key(), now=now(), ttl=timedelta(days=9))
    assert parse_svid(chain).not_after == end
    with pytest.raises(RingfenceError, match="not valid now") as caught:
        authority.prepare(end + HOUR)
    assert caught.value.kind is Kind.UNAVAILABLE


def test_a_restart_keeps_the_chain_and_new_files_are_used_from_the_next_authority_on(tmp_path: Path) -> None:
    """Both roots are published while both matter."""
    pki, keys = new_pki(tmp_path / "a"), MemoryKeys()
    authority = Authority.create(TD, keys, now=now(), upstream=upstream(pki))
    other = new_pki(tmp_path / "b")
    again = Authority.from_state(authority.to_state(), keys, upstream=upstream(other))
    assert again.current.x509.chain == authority.current.x509.chain
    again.prepare(now())
    assert again.bundle(1).x509_authorities == (root_der(pki), root_der(other))
    again.activate(now())
    chain = again.issue_x509(TRAINER, new_key().public_key(), now=now(), ttl=HOUR)
    assert verify_peer(chain, again.bundle(1), now=now()) == TRAINER


def test_what_cannot_sign_us_is_refused_in_words(tmp_path: Path) -> None:
    """Another's key, a path length of 0, a leaf, a missing link, a key that others read, no files, half the options."""
    pki, other = new_pki(tmp_path / "a"), new_pki(tmp_path / "b")
    short = new_pki(tmp_path / "c", path_length=",pathlen:0")
    leaf = tmp_path / "leaf.pem"
    leaf.write_bytes(pem(authority_below(pki).issue_x509(TRAINER, new_key().public_key(), now=now(), ttl=HOUR)[0]))
    empty = tmp_path / "empty.pem"
    empty.write_bytes(b"nothing")
    shared = tmp_path / "shared.key"
    shared.write_bytes(pki.key.read_bytes())
    shared.chmod(0o644)
    wrong = {
        "not that of the upstream certificate": DiskUpstream(pki.signing, other.key, pki.root),
        "path length 0": upstream(short),
        "signed by another": DiskUpstream(pki.signing, pki.key),
        "does not lead to its roots": DiskUpstream(pki.signing, pki.key, other.root),
        "certificate cannot be read": DiskUpstream(empty, pki.key, pki.root),
        "key cannot be read": DiskUpstream(pki.signing, _private(empty), pki.root),
        "others may read": DiskUpstream(pki.signing, shared, pki.root),
        "No such file": DiskUpstream(tmp_path / "none", pki.key, pki.root),
    }
    for words, disk in wrong.items():
        with pytest.raises(RingfenceError, match=words) as caught:
            Authority.create(TD, MemoryKeys(), now=now(), upstream=disk)
        assert "PRIVATE" not in str(caught.value)
    with pytest.raises(RingfenceError, match="come together"):
        upstream_of(pki.signing, None, None)
    assert upstream_of(None, None, None) is None


def _private(path: Path) -> Path:
    path.chmod(0o600)
    return path


@pytest.mark.e2e
async def test_agents_and_workloads_live_below_an_operators_root(tmp_path: Path) -> None:
    """Attest, fetch, rotate: whole chains are served, the bundle is the operator's root, a revocation is refused."""
    pki = new_pki(tmp_path / "pki")
    async with running_server(tmp_path, upstream=upstream(pki)) as server, running_agent(tmp_path, server) as agent:
        assert (await server.bundle()).x509_authorities == (root_der(pki),)
        await server.create_entry(str(TRAINER), OWN_UID)
        async with workload_client(agent.socket) as client:
            call = client.FetchX509SVID(workload.X509SVIDRequest(), metadata=HEADER, timeout=60)
            first = (await call.read()).svids[0]
            assert first.bundle == root_der(pki)
            await server.admin.Rotate(pb.RotateRequest(authority=True))
            while (later := (await call.read()).svids[0]).x509_svid == first.x509_svid:
                pass
            call.cancel()
        split = x509.load_der_x509_certificate
        leaf = tmp_path / "chain.der"
        leaf.write_bytes(later.x509_svid)
        size = len(_first(later.x509_svid))
        assert split(later.x509_svid[:size]).issuer == split(_first(later.x509_svid[size:])).subject
        for step in ("taint", "revoke"):
            asked = pb.StepAuthorityRequest(kind="x509", step=step)
            if step == "taint":
                done = await server.admin.StepAuthority(asked)
                assert done.authority.upstream
                continue
            with pytest.raises(Exception, match="its upstream's root, which stays trusted"):
                await server.admin.StepAuthority(asked)


def _first(ders: bytes) -> bytes:
    """The first of certificates in DER, one after the other: a SEQUENCE of two length bytes."""
    assert ders[:2] == b"\x30\x82"
    return ders[: 4 + int.from_bytes(ders[2:4], "big")]
