"""X509-SVID.md and certificate hygiene, judged by verifiers that are not ours: OpenSSL, cryptography, TLS and gRPC."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store

from ringfence.certs.authority import Authority
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from tests.parts import program

_TD = TrustDomain("example.org")
_NOW = datetime.now(UTC)
_LIFE = timedelta(hours=12)  # TLS asks the clock, and a run of all tests may be long under way
_AUTHORITY = Authority.create(_TD, MemoryKeys(), now=_NOW)
_AUTHORITY.prepare(_NOW)
_SERVER, _TRAINER = SpiffeId(_TD, "/ringfence/server"), SpiffeId(_TD, "/ns/team-a/sa/trainer")


def _issue(spiffe_id: SpiffeId, *dns_names: str) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    (leaf,) = _AUTHORITY.issue_x509(spiffe_id, key.public_key(), now=_NOW, ttl=_LIFE, dns_names=dns_names)
    pem = x509.load_der_x509_certificate(leaf).public_bytes(Encoding.PEM)
    return pem, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _files(folder: Path, spiffe_id: SpiffeId, *dns_names: str) -> tuple[Path, Path, Path]:
    certificate, key = _issue(spiffe_id, *dns_names)
    paths = folder / "svid.pem", folder / "key.pem", folder / "roots.pem"
    for path, data in zip(paths, (certificate, key, _AUTHORITY.bundle(1).x509_pem()), strict=True):
        path.write_bytes(data)
    return paths


@pytest.mark.parametrize("purpose", ["sslclient", "sslserver"])
@pytest.mark.parametrize("generation", ["current", "next"])
def test_1_2_10_openssl_accepts_every_chain_strictly(tmp_path: Path, purpose: str, generation: str) -> None:
    """`openssl verify -x509_strict` for either end of a connection, before and after a rotation."""
    svid, _, roots = _files(tmp_path, _TRAINER, "trainer.local")
    if generation == "next":
        authority = Authority.from_state(_AUTHORITY.to_state(), _AUTHORITY.keys)
        authority.activate(_NOW)
        (leaf,) = authority.issue_x509(
            _TRAINER, ec.generate_private_key(ec.SECP256R1()).public_key(), now=_NOW, ttl=timedelta(hours=1)
        )
        svid.write_bytes(x509.load_der_x509_certificate(leaf).public_bytes(Encoding.PEM))
    command = [program("openssl", "openssl"), "verify", "-x509_strict", "-purpose", purpose, "-CAfile", roots, svid]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == f"{svid}: OK\n", done.stderr


def test_1_2_4_openssl_accepts_the_root_strictly(tmp_path: Path) -> None:
    """The root passes as the signing certificate that it is."""
    _, _, roots = _files(tmp_path, _TRAINER)
    command = [program("openssl", "openssl"), "verify", "-x509_strict", "-CAfile", roots, roots]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_1_2_10_cryptographys_verifier_accepts_every_chain() -> None:
    """Both as a client and, by its DNS name, as a server."""
    pem, _ = _issue(_SERVER, "ringfence-server")
    leaf = x509.load_pem_x509_certificate(pem)
    store = Store(x509.load_pem_x509_certificates(_AUTHORITY.bundle(1).x509_pem()))
    client = PolicyBuilder().store(store).time(_NOW).build_client_verifier().verify(leaf, [])
    assert client.subjects == [
        x509.UniformResourceIdentifier("spiffe://example.org/ringfence/server"),
        x509.DNSName("ringfence-server"),
    ]
    server = PolicyBuilder().store(store).time(_NOW).build_server_verifier(x509.DNSName("ringfence-server"))
    assert server.verify(leaf, [])[0] == leaf


def test_1_2_8_the_profile_is_the_one_we_say() -> None:
    """X509-SVID 2 to 4 and RFC 5280, field by field, as a reader sees them."""
    pem, _ = _issue(_TRAINER, "trainer.local")
    leaf = x509.load_pem_x509_certificate(pem)
    extensions = {type(one.value): (one.critical, one.value) for one in leaf.extensions}
    root = _AUTHORITY.current.x509.certificate.extensions
    assert leaf.version is x509.Version.v3
    assert 0 < leaf.serial_number < 1 << 128
    assert leaf.subject.rfc4514_string() == "CN=trainer.local,O=Ringfence"
    critical, usage = extensions[x509.KeyUsage]
    assert critical
    assert isinstance(usage, x509.KeyUsage)
    assert (usage.digital_signature, usage.key_encipherment, usage.key_agreement) == (True, True, True)
    assert (usage.key_cert_sign, usage.crl_sign) == (False, False)
    assert extensions[x509.BasicConstraints] == (True, x509.BasicConstraints(ca=False, path_length=None))
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    assert extensions[x509.ExtendedKeyUsage] == (False, x509.ExtendedKeyUsage(both))
    _, aki = extensions[x509.AuthorityKeyIdentifier]
    assert isinstance(aki, x509.AuthorityKeyIdentifier)
    assert aki.key_identifier == root.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    ski = x509.SubjectKeyIdentifier.from_public_key(leaf.public_key())  # type: ignore[arg-type]
    assert extensions[x509.SubjectKeyIdentifier] == (False, ski)
    critical, names = extensions[x509.SubjectAlternativeName]
    assert not critical  # the subject is not empty (X509-SVID 3.1)
    assert list(names) == [x509.UniformResourceIdentifier(str(_TRAINER)), x509.DNSName("trainer.local")]  # type: ignore[call-overload]
    assert len(extensions) == 6  # no CRL, AIA or policy that points nowhere


async def test_1_2_9_python_tls_accepts_both_ends(tmp_path: Path) -> None:
    """A mutual TLS 1.3 handshake, each end with an SVID, through the standard library's OpenSSL."""
    svid, key, roots = _files(tmp_path, _SERVER, "localhost")
    contexts = [ssl.create_default_context(purpose) for purpose in (ssl.Purpose.CLIENT_AUTH, ssl.Purpose.SERVER_AUTH)]
    for context in contexts:
        context.load_cert_chain(svid, key)
        context.load_verify_locations(roots)
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    seen: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.set_result(writer.get_extra_info("peercert")["subjectAltName"])
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0, ssl=contexts[0]) as server:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=contexts[1], server_hostname="localhost")
        assert await seen == (("URI", str(_SERVER)), ("DNS", "localhost"))
        writer.close()


async def test_1_2_9_grpc_accepts_both_ends() -> None:
    """A call over mutual TLS with the server named by the override that our clients set."""
    server_pem, server_key = _issue(_SERVER, "ringfence-server", "localhost")
    client_pem, client_key = _issue(_TRAINER)
    roots = _AUTHORITY.bundle(1).x509_pem()

    async def answer(_: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return b" ".join(context.auth_context()["x509_subject_alternative_name"])

    handler = grpc.method_handlers_generic_handler("test", {"Who": grpc.unary_unary_rpc_method_handler(answer)})
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handler,))
    port = server.add_secure_port(
        "127.0.0.1:0", grpc.ssl_server_credentials([(server_key, server_pem)], roots, require_client_auth=True)
    )
    await server.start()
    credentials = grpc.ssl_channel_credentials(roots, client_key, client_pem)
    options = [("grpc.ssl_target_name_override", "ringfence-server")]
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options) as channel:
        assert await channel.unary_unary("/test/Who")(b"", timeout=30) == str(_TRAINER).encode()
    await server.stop(None)
