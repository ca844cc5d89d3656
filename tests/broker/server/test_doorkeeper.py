"""The doorkeeper's refusals last no longer than the connection that they were for."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.broker.server.harness import running_server
from tests.broker.server.node import TRAINER, Node, joined
from tests.broker.server.test_revocation import issued, revoke


async def test_a_refused_connection_is_closed_after_a_moment(tmp_path: Path) -> None:
    """A proxy that stayed on it would be refused for good, whatever certificate it has by then."""
    async with running_server(tmp_path) as server:
        entry, node = await server.create_entry(TRAINER, "unix:uid:1"), await joined(server)
        async with node.connected() as stream:
            workload, serial = await issued(stream, entry.id)
            await revoke(server, serials=[serial])
            host, _, port = server.address.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port), ssl=context(workload, tmp_path))
            async with asyncio.timeout(20):
                await reader.read()
            writer.close()


def context(workload: Node, folder: Path) -> ssl.SSLContext:
    """What shows the certificate of *workload*; the server's is not looked at."""
    key = workload.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    leaf = x509.load_der_x509_certificate(workload.chain[0]).public_bytes(Encoding.PEM)
    (folder / "shown.pem").write_bytes(leaf + key)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.load_cert_chain(folder / "shown.pem")
    made.set_alpn_protocols(["h2"])
    return made
