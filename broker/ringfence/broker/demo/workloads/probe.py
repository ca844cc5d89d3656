"""A workload that does what it is told: reads one JSON command a line, makes that call, prints one JSON result a line.

It runs behind its own proxy with its own identity, so what it can and cannot reach is what any code of that workload
could. Commands: `http`, `postgres`, `egress`, `plaintext`, `direct` (past its own proxy, with the SVID itself),
`until_refused`, `svid`, `load`, `report`.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import signal
import socket
import ssl
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TIMEOUT = 10.0


def _address(upstream: str) -> tuple[str, int]:
    host, _, port = os.environ[upstream].rpartition(":")
    return host, int(port)


class Caller:
    """Makes calls over connections that it keeps open, one an upstream."""

    def __init__(self) -> None:
        self._open: dict[str, http.client.HTTPConnection] = {}

    def http(self, command: dict[str, Any]) -> dict[str, Any]:
        """One request on the kept connection; `same` tells whether that connection already existed."""
        upstream = command["upstream"]
        same = upstream in self._open
        host, port = _address(upstream)
        connection = self._open.setdefault(upstream, http.client.HTTPConnection(host, port, timeout=TIMEOUT))
        try:
            result = _exchange(connection, command)
        except (OSError, http.client.HTTPException) as error:
            self._open.pop(upstream).close()
            return {"status": 0, "error": f"{type(error).__name__}: {error}"}
        if connection.sock is None:
            self._open.pop(upstream)
        return {**result, "same": same}

    def postgres(self, command: dict[str, Any]) -> dict[str, Any]:
        """One query through the upstream's loopback port."""
        import psycopg

        host, port = _address(command["upstream"])
        dsn = f"host={host} port={port} user=trainer dbname=features sslmode=disable connect_timeout=5"
        try:
            with psycopg.connect(dsn) as connection:
                row = connection.execute(command.get("query", "select count(*) from rows")).fetchone()
        except psycopg.Error as error:
            return {"status": 0, "error": str(error).strip()}
        return {"status": 200, "body": str(row[0] if row else "")}

    def egress(self, command: dict[str, Any]) -> dict[str, Any]:
        """A request for any host on the internet, through the way out that the workload was given."""
        proxy = urlsplit(os.environ["RINGFENCE_EGRESS"])
        connection = http.client.HTTPConnection(proxy.hostname or "", proxy.port, timeout=TIMEOUT)
        url = urlsplit(command["url"])
        return _exchange(connection, {**command, "path": command["url"], "host": url.netloc})

    def plaintext(self, command: dict[str, Any]) -> dict[str, Any]:
        """An HTTP request without TLS, straight to a port that speaks mutual TLS only."""
        return _raw(command, lambda sock: sock)

    def direct(self, command: dict[str, Any]) -> dict[str, Any]:
        """Straight to another workload's proxy with this workload's own certificate, past its own proxy."""
        context = _own_tls()
        return _raw(command, context.wrap_socket)


def _exchange(connection: http.client.HTTPConnection, command: dict[str, Any]) -> dict[str, Any]:
    trace = secrets.token_hex(16)
    body = command.get("body", "").encode()
    # The path goes out as it is written: an attacker does not normalise.
    connection.putrequest(command.get("method", "GET"), command["path"], skip_host="host" in command)
    if "host" in command:
        connection.putheader("Host", command["host"])
    connection.putheader("traceparent", f"00-{trace}-{secrets.token_hex(8)}-01")
    if body:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body or None)
    response = connection.getresponse()
    text = response.read()
    return {"status": response.status, "trace": trace, "body": text[:200].decode("utf-8", "replace")}


def _raw(command: dict[str, Any], wrap: Any) -> dict[str, Any]:
    host, _, port = command["address"].rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=TIMEOUT) as sock, wrap(sock) as stream:
            stream.sendall(bytes.fromhex(command["send"]))
            answer = stream.recv(4096)
    except OSError as error:
        return {"status": 0, "error": f"{type(error).__name__}: {error}"}
    return {"status": 200 if answer else 0, "body": answer.hex(), "error": "" if answer else "closed"}


def _own_svid() -> Any:
    from spiffe import WorkloadApiClient

    with WorkloadApiClient(os.environ["SPIFFE_ENDPOINT_SOCKET"]) as client:
        return client.fetch_x509_svid()


def _svid_facts() -> dict[str, Any]:
    """Which authority signed the identity that this workload has now, and its serial number."""
    from cryptography.x509 import AuthorityKeyIdentifier

    leaf = _own_svid().leaf
    authority = leaf.extensions.get_extension_for_class(AuthorityKeyIdentifier).value.key_identifier
    return {"serial": f"{leaf.serial_number:x}", "authority": authority.hex()}


def _own_tls() -> ssl.SSLContext:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    svid = _own_svid()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # an attacker does not care who answers
    with tempfile.TemporaryDirectory() as folder:
        pem = Path(folder, "svid.pem")
        pem.touch(mode=0o600)
        key = svid.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        pem.write_bytes(key + b"".join(c.public_bytes(Encoding.PEM) for c in svid.cert_chain))
        context.load_cert_chain(pem)
    return context


class Load:
    """Steady traffic on a thread of its own: the given commands in turn, every answer that is not 200 counted."""

    def __init__(self, commands: list[dict[str, Any]], pause: float) -> None:
        self._commands = commands
        self._pause = pause
        self._stop = threading.Event()
        self._sent = 0
        self._failures: list[str] = []
        self._slowest = 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        caller = Caller()
        while not self._stop.wait(self._pause):
            command = self._commands[self._sent % len(self._commands)]
            began = time.monotonic()
            result = getattr(caller, command["do"])(command)
            self._slowest = max(self._slowest, time.monotonic() - began)
            self._sent += 1
            if result["status"] != http.client.OK:
                self._failures.append(f"{command['do']}: {result}")

    def end(self) -> dict[str, Any]:
        """Stop and tell what happened."""
        self._stop.set()
        self._thread.join(TIMEOUT)
        return {
            "sent": self._sent,
            "failed": len(self._failures),
            "failures": self._failures[:5],
            "slowest_ms": round(self._slowest * 1000, 1),
        }


def _until_refused(caller: Caller, command: dict[str, Any]) -> dict[str, Any]:
    """Repeat one request on one connection until it is refused; times are of the machine-wide monotonic clock."""
    deadline = time.monotonic() + command.get("within", 10.0)
    while time.monotonic() < deadline:
        result = caller.http(command)
        if result["status"] != http.client.OK:
            return {**result, "at": time.monotonic()}
    return {"status": 200, "error": "never refused", "at": time.monotonic()}


def main() -> None:
    """Serve commands until stdin ends; with `--hold` do nothing, but stay."""
    if "--hold" in sys.argv:
        signal.pause()
    caller = Caller()
    load: Load | None = None
    print(json.dumps({"ready": os.environ.get("RINGFENCE_IDENTITY", "")}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        match command["do"]:
            case "load":
                load = Load(command["commands"], command.get("pause", 0.005))
                result: dict[str, Any] = {"status": 200}
            case "report":
                result = load.end() if load else {"sent": 0, "failed": 0}
                load = None
            case "svid":
                result = _svid_facts()
            case "until_refused":
                result = _until_refused(caller, command)
            case "http" | "postgres" | "egress" | "plaintext" | "direct" as name:
                result = getattr(caller, name)(command)
            case other:
                result = {"status": 0, "error": f"no command {other}"}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
