"""A workload behind `ringfence run --capture`: a program that does what it is told, and network namespaces for it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from textwrap import dedent
from typing import Any

from ringfence.broker.run.kernel import children_of
from tests import parts
from tests.e2e.plane import until
from tests.e2e.stack import RINGFENCE, Stack

# A line in is something to try, as [WHAT, ARGUMENT...]; a line out is [RESULT] or [null, ERROR]. It knows of no proxy.
_PROGRAM = """
    import http.client, http.server, json, os, signal, socket, subprocess, sys, threading
    class Http(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        def do_GET(self):
            self.send_response(200); self.send_header("content-length", "5"); self.end_headers()
            self.wfile.write(b"hello")
        do_POST = do_GET
        def log_message(self, *_): pass
    def serve(host, port):
        server = http.server.ThreadingHTTPServer((host, int(port)), Http)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server.server_port
    def http_(host, port, method="GET", path="/"):
        connection = http.client.HTTPConnection(host, port, timeout=20)
        connection.request(method, path)
        answer = connection.getresponse()
        answer.read()
        return [answer.status, answer.getheader("x-ringfence-decision")]
    def tcp(host, port, text=""):
        with socket.create_connection((host, port), timeout=20) as line:
            line.sendall(text.encode())
            if not (answer := line.recv(64)):
                raise ConnectionResetError("closed without a byte")
            return answer.decode()
    def udp(host, port):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as line:
            return line.sendto(b"x", (host, port))
    def lookup(name):
        return socket.getaddrinfo(name, 80, socket.AF_INET, socket.SOCK_STREAM)[0][4][0]
    def shell(*command):
        done = subprocess.run(command, capture_output=True, text=True)
        return [done.returncode, done.stdout + done.stderr]
    def status(field):
        return next(l.split(None, 1)[1].strip() for l in open("/proc/self/status") if l.startswith(field))
    def environment(name):
        return os.environ[name]
    def namespace():
        return os.stat("/proc/self/ns/net").st_ino
    def write(path):
        open(path, "w").close()
        return os.stat(path).st_uid
    def ignore():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    known = {"http": http_, **{f.__name__: f for f in
        (serve, tcp, udp, lookup, shell, status, environment, namespace, write, ignore)}}
    for name, port in list(os.environ.items()):
        if name.startswith("RINGFENCE_PORT_"):
            serve("127.0.0.1", port)
    print(json.dumps(["up"]), flush=True)
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        try:
            print(json.dumps([known[what](*arguments)]), flush=True)
        except OSError as error:
            print(json.dumps([None, f"{type(error).__name__}: {error}"]), flush=True)
    signal.pause()
"""


def everybodys_python() -> str:
    """A Python that every user may run; that of the tests may lie in somebody's home."""
    return shutil.which("python3", path="/usr/bin") or parts.missing("/usr/bin/python3", "apt-get install python3")


class Refused(Exception):  # noqa: N818  # what a firewall does is no error
    """What was tried ended in an OSError at the program."""


class Captured:
    """One captured workload, ready."""

    def __init__(self, stack: Stack, key: str, *flags: str, python: str = sys.executable) -> None:
        namespace, _, name = key.partition("/")
        self._log = stack.folder / f"{name}.log"
        base = stack.folder / name
        base.mkdir()
        base.chmod(0o755)
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(*RINGFENCE, "run", "--socket", str(stack.socket), "--name", name, "--namespace", namespace),
                    *("--capture", *flags, "--", python, "-c", dedent(_PROGRAM)),
                ],
                env={**os.environ, "XDG_RUNTIME_DIR": str(base)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        stack.exits.callback(self.end)
        assert self._said() == ["up"]

    def do(self, what: str, *arguments: Any) -> Any:
        """Have the program try something; raises Refused for an OSError of its own."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([what, *arguments]) + "\n")
        self.process.stdin.flush()
        found, *error = self._said()
        if error:
            raise Refused(*error)
        return found

    @property
    def proxy(self) -> int:
        """The process id of its Envoy; 0 while there is none."""
        for pid in children_of(self.process.pid):
            with suppress(OSError):
                if "envoy" in Path(f"/proc/{pid}/comm").read_text():
                    return pid
        return 0

    def _said(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self._log.read_text()
        return json.loads(line)

    def end(self) -> None:
        """TERM, and wait until it has ended."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def processes_in(namespace: int) -> list[int]:
    """The processes in the network namespace of that inode."""
    found = []
    for path in Path("/proc").glob("[0-9]*/ns/net"):
        try:
            if path.stat().st_ino == namespace:
                found.append(int(path.parts[2]))
        except OSError:
            continue
    return found


class Wires:
    """Two namespaces: a job's, with a fabric `fab0` and a way out `eth0`, and the world at the other end of both."""

    FABRIC, OUT = "192.168.50", "203.0.113"

    def __init__(self, exits: ExitStack) -> None:
        self._ip = parts.program("ip", "iproute2")
        self._exits = exits
        mark = f"rf{os.getpid()}"
        self.job, self.world = f"{mark}j", f"{mark}w"
        for name in (self.job, self.world):
            self.ip("netns", "add", name)
            exits.callback(self.ip, "netns", "del", name)
            self.ip("-n", name, "link", "set", "lo", "up")
        for device, network in (("fab0", self.FABRIC), ("eth0", self.OUT)):
            self.ip("-n", self.job, "link", "add", device, "type", "veth", "peer", "name", device, "netns", self.world)
            for name, host in ((self.job, 2), (self.world, 1)):
                self.ip("-n", name, "address", "add", f"{network}.{host}/24", "dev", device)
                self.ip("-n", name, "link", "set", device, "up")
        self.ip("-n", self.job, "route", "add", "default", "via", f"{self.OUT}.1")
        self.ip("-n", self.world, "address", "add", "169.254.169.254/32", "dev", "fab0")
        self.ip("-n", self.job, "route", "add", "169.254.169.254/32", "dev", "fab0")

    @property
    def path(self) -> str:
        """The job's namespace as a file."""
        return f"/run/netns/{self.job}"

    def ip(self, *arguments: str) -> None:
        """Have the kernel make or change something."""
        subprocess.run([self._ip, *arguments], check=True, capture_output=True)

    def inside(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """A command in one of the two."""
        return subprocess.run(
            [self._ip, "netns", "exec", name, *command], capture_output=True, text=True, check=False, timeout=60
        )

    def echo(self, port: int) -> None:
        """Something in the world that answers every TCP connection on *port* with its caller's address."""
        code = f"""
            import socketserver
            class Echo(socketserver.BaseRequestHandler):
                def handle(self): self.request.sendall(self.client_address[0].encode())
            class Server(socketserver.ThreadingTCPServer): allow_reuse_address = daemon_threads = True
            server = Server(("0.0.0.0", {port}), Echo)
            print("up", flush=True)
            server.serve_forever()
        """
        command = [self._ip, "netns", "exec", self.world, sys.executable, "-c", dedent(code)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._exits.callback(_kill, process)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"

    def dials(self, name: str, host: str, port: int, seconds: float = 20) -> str:
        """What somebody in *name* hears who connects there; an empty text when nobody answers."""
        code = f"import socket; print(socket.create_connection(({host!r}, {port}), {seconds}).recv(64).decode())"
        return self.inside(name, sys.executable, "-c", code).stdout.strip()


@contextmanager
def wires() -> Iterator[Wires]:
    """Both namespaces, removed at the end."""
    parts.root()
    with ExitStack() as exits:
        yield Wires(exits)


def departed(stack: Stack, host: str) -> dict[str, Any]:
    """The line of `ringfence egress list --denied` about *host*, waited for."""

    def find() -> dict[str, Any] | None:
        code, out = stack.ringfence("egress", "list", "--denied", "-o", "json")
        assert code == 0, out
        return next((item for item in json.loads(out)["items"] if item["host"] == host), None)

    return until(find, f"a departure to {host}", 30)


def _kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
