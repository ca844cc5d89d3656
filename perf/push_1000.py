"""Server CPU to push one 2 KiB change to 1,000 ADS streams over mTLS and take their ACKs, beside bare grpc.aio."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from perf.ads_load import SERVER_NAME
from perf.figure import within_limit
from ringfence.certs.authority import Authority
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

NAME = "push_1000"
GOAL = 0.8
STREAMS = 1000
RUNS = 15


def measure(streams: int = STREAMS, runs: int = RUNS) -> dict[str, Any]:
    """The figure `push_1000`: both servers are up, with their own clients, and take turns."""
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        certificates(folder)
        ours, limit = (stack.enter_context(_server(which, streams, folder)) for which in ("ours", "limit"))
        ask(ours), ask(limit)  # warms both
        pairs = [(ask(ours), ask(limit)) for _ in range(runs)]
    cpu = [(mine["cpu"] / streams * 1e6, theirs["cpu"] / streams * 1e6) for mine, theirs in pairs]
    last = [statistics.median(side["wall"] for side in column) * 1e3 for column in zip(*pairs, strict=True)]
    return within_limit(
        NAME,
        (
            f"one 2 KiB change to {streams} ADS streams over mTLS, server CPU a push and ACK in fleet and lane "
            f"(last ACK after {last[0]:.0f} ms, the limit's after {last[1]:.0f} ms)"
        ),
        cpu,
        unit="us",
        limit="bare grpc.aio sending the same bytes over TLS",
        goal=GOAL,
    )


@contextmanager
def _server(which: str, streams: int, folder: Path) -> Iterator[subprocess.Popen[str]]:
    with module("perf.push_servers", which, str(streams), str(folder)) as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        with module("perf.ads_load", port, str(streams), str(folder)) as client:
            assert client.stdout is not None
            assert client.stdout.readline() == "ready\n", "the load client did not connect"
            yield server


@contextmanager
def module(name: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python module as a child, with pipes, killed at the end."""
    with piped(sys.executable, "-m", name, *arguments) as process:
        yield process


@contextmanager
def piped(*command: str) -> Iterator[subprocess.Popen[str]]:
    """A child with pipes, killed at the end."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def ask(server: subprocess.Popen[str], what: str = "change") -> dict[str, float]:
    """Have a server make one change, or something else; what it spent."""
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(f"{what}\n")
    server.stdin.flush()
    spent: dict[str, float] = json.loads(server.stdout.readline())
    return spent


def certificates(folder: Path) -> None:
    """Files with the roots, and with the key and chain of a server and of a client."""
    trust_domain, now = TrustDomain("example.test"), datetime.now(UTC)
    authority = Authority.create(trust_domain, MemoryKeys(), now=now)
    (folder / "roots.pem").write_bytes(authority.bundle(1).x509_pem())
    who = {"server": ("/ringfence/server", [SERVER_NAME]), "client": ("/ns/team-a/sa/trainer", [])}
    for name, (path, dns) in who.items():
        key = ec.generate_private_key(ec.SECP256R1())
        spiffe_id = SpiffeId(trust_domain, path)
        chain = authority.issue_x509(spiffe_id, key.public_key(), now=now, ttl=timedelta(hours=1), dns_names=dns)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        pem += b"".join(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in chain)
        (folder / f"{name}.pem").write_bytes(pem)
