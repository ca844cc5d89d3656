"""A workload that speaks xDS by its own gRPC library, as a process: it serves, calls and holds streams when told to.

Run as a program it reads one JSON object a line and answers with one; imported, it starts such a program.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import grpc.experimental

_PATIENCE = 40.0  # seconds for one call


class Service(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs only
    """Answers every method with who called; one whose name ends in `Watch` streams until the caller has gone.

    One whose name ends in `Where` is answered with *place*.
    """

    def __init__(self, place: str) -> None:
        self._place = place.encode()

    def service(self, handler_call_details: Any) -> Any:
        """The handler, by bytes."""
        if handler_call_details.method.endswith("/Watch"):
            return grpc.unary_stream_rpc_method_handler(_watch)
        if handler_call_details.method.endswith("/Where"):
            return grpc.unary_unary_rpc_method_handler(lambda _request, _context: self._place)
        return grpc.unary_unary_rpc_method_handler(_who)


def _who(_request: bytes, context: Any) -> bytes:
    found = context.auth_context().get("x509_subject_alternative_name", [])
    return b",".join(found)


def _watch(_request: bytes, context: Any) -> Iterator[bytes]:
    ended = threading.Event()
    context.add_callback(ended.set)
    while not ended.wait(0.02):
        yield b"on"


class Program:
    """What the process holds: servers, channels and streams by name."""

    def __init__(self) -> None:
        self._servers: dict[str, grpc.Server] = {}
        self._channels: dict[str, grpc.Channel] = {}
        self._streams: dict[str, Any] = {}

    def serve(self, at: str, drain_ms: int = 600_000, insecure: bool = False) -> str:  # noqa: FBT001, FBT002  # read from JSON
        """A server on ADDRESS:PORT by xDS; what falls back, where xDS brings no certificates, serves nobody or all."""
        options = [("grpc.experimental.server_config_change_drain_grace_time_ms", drain_ms)]
        pool = ThreadPoolExecutor(8)
        server = grpc.server(pool, handlers=[Service(at)], xds=True, options=options)
        nobody = grpc.ssl_server_credentials([(b"", b"")])
        fallback = grpc.insecure_server_credentials() if insecure else nobody
        server.add_secure_port(at, grpc.xds_server_credentials(fallback))
        server.start()
        self._servers[at] = server
        return "started"

    def environment(self) -> str:
        """What the process was given, as JSON."""
        return json.dumps(dict(os.environ))

    def stop(self, at: str) -> str:
        """End that server."""
        self._servers.pop(at).stop(None).wait()
        return "stopped"

    def call(self, target: str, path: str, wait: bool = True) -> str:  # noqa: FBT001, FBT002  # read from JSON
        """The code of a call, then what was answered or said; the channel stays open for the next."""
        try:
            answer = self._channel(target).unary_unary(path)(b"", timeout=_PATIENCE, wait_for_ready=wait)
        except grpc.RpcError as error:
            return f"{error.code().name} {error.details()}"
        return f"OK {answer.decode()}"

    def watch(self, target: str, path: str) -> str:
        """Open a stream and return once its first message is there."""
        stream = self._channel(target).unary_stream(path)(b"", wait_for_ready=True)
        self._streams[path] = stream
        return self.read(path)

    def read(self, path: str) -> str:
        """The next message of that stream."""
        try:
            return str(next(self._streams[path]).decode())
        except grpc.RpcError as error:
            return f"{error.code().name} {error.details()}"

    def forget(self, target: str) -> str:
        """Close that channel."""
        self._channels.pop(target).close()
        return "closed"

    def ended(self, path: str) -> str:
        """Read that stream to its end; the code of it."""
        try:
            for _ in self._streams[path]:
                pass
        except grpc.RpcError as error:
            return f"{error.code().name} {error.details()}"
        return "OK"

    def _channel(self, target: str) -> grpc.Channel:
        if target not in self._channels:
            fallback = grpc.ssl_channel_credentials()
            self._channels[target] = grpc.secure_channel(target, grpc.xds_channel_credentials(fallback))
        return self._channels[target]


class Told:
    """Such a process, started behind *command*; it does what it is told, one thing at a time."""

    def __init__(self, log: Path, *command: str, **environment: str) -> None:
        self._log = log
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*command, sys.executable, __file__],
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )

    def do(self, what: str, **more: Any) -> str:
        """Have it done; the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": what, **more}).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, self.log()[-3000:]
        answer: str = json.loads(line)
        return answer

    def log(self) -> str:
        """What it wrote to stderr."""
        return self._log.read_text()

    def end(self) -> int:
        """Close its input, which ends it; the exit code."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if not self.process.stdin.closed:
            self.process.stdin.close()
        code = self.process.wait(20)
        self.process.stdout.close()
        return code


def main() -> None:
    """Do what each line says."""
    program = Program()
    for line in sys.stdin:
        asked = json.loads(line)
        answer = getattr(program, asked.pop("do"))(**asked)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    os._exit(0)  # servers and channels end with the process


if __name__ == "__main__":
    main()
