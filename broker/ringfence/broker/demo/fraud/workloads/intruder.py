"""An intruder on the same machine who has a scorer's key: tries every door with it, and times when it stops working.

One JSON command a line on stdin, one JSON result a line. Every command but `fetch` names the `folder` with the stolen
key.pem, svid.pem and bundle.pem. `knock` tries `doors`, `control` calls every method of the control plane, `hold` keeps
using what the key opens, and `refused` says when it was first refused (machine-wide monotonic time).
"""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import Any

from ringfence.broker.demo.fraud.workloads.overreach import control, fetch

TIMEOUT = 5.0
HOLD_WITHIN = 20.0  # seconds that a refusal is waited for
PAUSE = 0.004  # seconds between two uses of a door, or an intruder on a small machine is a load of its own
PAYMENT = json.dumps({"id": "intruder", "card": 1, "amount": 1, "abroad": 0, "night": 0})

# What every HTTP port is asked: what any of them serves, so that a refusal is never just a wrong path.
ASKED = (
    ("POST", "/v1/holds"),
    ("POST", "/v1/transfers"),
    ("GET", "/v1/holds"),
    ("POST", "/decisions"),
    ("GET", "/decisions"),
    ("POST", "/fraud.v1.Scorer/Score"),
    ("POST", "/grpc.health.v1.Health/Check"),
    ("POST", "/score"),
    ("GET", "/model"),
    ("GET", "/"),
)
# What a PostgreSQL client says first (a startup message of protocol 3.0 for user scorer, database cards).
_STARTUP = bytes.fromhex("00030000") + b"user\0scorer\0database\0cards\0\0"
POSTGRES_HELLO = (len(_STARTUP) + 4).to_bytes(4, "big") + _STARTUP


def stolen(folder: Path) -> ssl.SSLContext:
    """TLS with the stolen certificate; an intruder does not care who answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(folder / "svid.pem", folder / "key.pem")
    return context


class Http:
    """Requests on one connection to one address, with TLS or (None) without."""

    def __init__(self, address: str, tls: ssl.SSLContext | None) -> None:
        self._connection = (
            http.client.HTTPConnection(address, timeout=TIMEOUT)
            if tls is None
            else http.client.HTTPSConnection(address, timeout=TIMEOUT, context=tls)
        )

    def ask(self, method: str, path: str) -> dict[str, Any]:
        """Status and the id of the decision; status 0 and why where there is no answer."""
        trace = secrets.token_hex(16)
        headers = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01", "Content-Type": "application/json"}
        try:
            self._connection.request(method, path, PAYMENT if method == "POST" else None, headers)
            response = self._connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return {"status": 0, "error": type(error).__name__}
        return {"status": response.status, "decision": response.headers.get("x-ringfence-decision", "")}

    def close(self) -> None:
        """The next question opens it anew."""
        self._connection.close()


class Rows:
    """PostgreSQL through TLS, as far as its greeting."""

    def __init__(self, address: str, tls: ssl.SSLContext) -> None:
        host, _, port = address.rpartition(":")
        self._address, self._tls = (host, int(port)), tls

    def ask(self) -> dict[str, Any]:
        """Status 200 when the database answered."""
        try:
            with (
                socket.create_connection(self._address, timeout=TIMEOUT) as sock,
                self._tls.wrap_socket(sock) as stream,
            ):
                stream.sendall(POSTGRES_HELLO)
                answer = stream.recv(64)
        except OSError as error:
            return {"status": 0, "error": type(error).__name__}
        return {"status": 200 if answer else 0, "error": "" if answer else "closed"}


def knock(command: dict[str, Any]) -> dict[str, Any]:
    """Everything that may be asked at every door, with the key and without TLS."""
    tls = stolen(Path(command["folder"]))
    tries = []
    for door in command["doors"]:
        plain = Http(door["address"], None)
        tries.append({"door": door["what"], "asked": "GET / in plain HTTP", **plain.ask("GET", "/")})
        plain.close()
        if door["speaks"] == "tcp":
            tries.append({"door": door["what"], "asked": "a database session", **Rows(door["address"], tls).ask()})
            continue
        secret = Http(door["address"], tls)
        tries += [
            {"door": door["what"], "asked": f"{method} {path}", **secret.ask(method, path)} for method, path in ASKED
        ]
        secret.close()
    return {"tries": tries}


class Held:
    """Goes on using each door that the key opens, and notes when that was refused for the first time."""

    def __init__(self, command: dict[str, Any]) -> None:
        tls = stolen(Path(command["folder"]))
        self._refused: dict[str, float] = {}
        self._threads = []
        self.opened: list[str] = []
        for door in command["doors"]:
            ask = Rows(door["address"], tls).ask if door["speaks"] == "tcp" else self._asking(door, tls)
            if ask()["status"] in door["opens"]:
                self.opened.append(door["what"])
            self._threads.append(threading.Thread(target=self._run, args=(door, ask), daemon=True))
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _asking(door: dict[str, Any], tls: ssl.SSLContext) -> Any:
        kept = Http(door["address"], tls)
        return lambda: kept.ask(*door["asked"])

    def _run(self, door: dict[str, Any], ask: Any) -> None:
        until = time.monotonic() + HOLD_WITHIN
        while time.monotonic() < until:
            if ask()["status"] not in door["opens"]:
                self._refused[door["what"]] = time.monotonic()
                return
            time.sleep(PAUSE)

    def refused(self) -> dict[str, Any]:
        """When each was refused first."""
        for thread in self._threads:
            thread.join(HOLD_WITHIN)
        return {"at": self._refused}


def main() -> None:
    """Do as told until stdin ends."""
    held: Held | None = None
    print(json.dumps({"ready": ""}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "hold":
            held = Held(command)
            result: dict[str, Any] = {"opened": held.opened}
        elif command["do"] == "refused":
            result = held.refused() if held else {}
        else:
            result = {"knock": knock, "fetch": fetch, "control": control}[command["do"]](command)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
