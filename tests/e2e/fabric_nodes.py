"""Two nodes as network namespaces, joined by a control wire and a fabric, with something that listens on each."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from textwrap import dedent

from tests import parts
from tests.e2e.stack import RINGFENCE

COLLECTIVE, STORE = 50000, 29500  # a port of the fabric's, and that of PyTorch's store
_LISTEN = """
    import socket, sys, threading
    def serve(port):
        server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        def run():
            while True:
                line = server.accept()[0]
                threading.Thread(target=echo, args=(line,), daemon=True).start()
        threading.Thread(target=run, daemon=True).start()
    def echo(line):
        with line:
            while data := line.recv(64):
                line.sendall(data)
    for port in sys.argv[1:]:
        serve(int(port))
    print("up", flush=True)
    sys.stdin.read()
"""
_TALK = """
    import socket, sys
    source, target, port, seconds, own = sys.argv[1:]
    def say():
        line.sendall(b"x")
        return line.recv(1).decode()
    try:
        with socket.create_connection((target, int(port)), float(seconds), (source, int(own))) as line:
            print(say(), flush=True)
            for _ in sys.stdin:
                line.settimeout(1)
                print(say(), flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""
PATIENCE, SHORT = 20, 1  # seconds: for what answers, and for what must not


class Namespaces:
    """Network namespaces that the test makes, and programs that talk and listen within them."""

    def __init__(self, exits: ExitStack) -> None:
        parts.root()
        parts.program("nft", "nftables")
        self._ip = parts.program("ip", "iproute2")
        self._exits = exits

    def add(self, suffix: str) -> str:
        """A namespace with its loopback up, by its name; gone at the end."""
        name = f"rf{os.getpid()}{suffix}"
        self.ip("netns", "add", name)
        self._exits.callback(self.ip, "netns", "del", name)
        self.ip("-n", name, "link", "set", "lo", "up")
        return name

    def ip(self, *arguments: str) -> None:
        """Have the kernel make or change something."""
        subprocess.run([self._ip, *arguments], check=True, capture_output=True)

    def listen(self, name: str) -> None:
        """Have something on every address answer on the job's port and on the store's."""
        process = self._python(name, _LISTEN, str(COLLECTIVE), str(STORE))
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"

    def within(self, name: str, *command: str) -> list[str]:
        """*command* as it is started in a namespace."""
        return [self._ip, "netns", "exec", name, *command]

    def _python(self, name: str, program: str, *arguments: str) -> subprocess.Popen[str]:
        command = self.within(name, sys.executable, "-c", dedent(program), *arguments)
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._exits.callback(self._end, process)
        return process

    @staticmethod
    def _end(process: subprocess.Popen[str]) -> None:
        process.kill()
        process.wait(PATIENCE)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def opened(
        self, name: str, source: str, target: str, port: int, seconds: float, own: int = 0
    ) -> subprocess.Popen[str]:
        """A connection from *source* to *target* that says what came back of each line that it is told."""
        return self._python(name, _TALK, source, target, str(port), str(seconds), str(own))

    def reaches(self, name: str, source: str, target: str, port: int, seconds: float = PATIENCE, own: int = 0) -> str:
        """`x` where a listener answers, else the name of the error; *own* is the port that it is opened from."""
        talk = self.opened(name, source, target, port, seconds, own)
        return talk.communicate()[0].strip()


class Nodes(Namespaces):
    """`rank` is where Ringfence is; `peer` is a node without it, which has a stranger's address too."""

    RANK, PEER, STRANGER, RANK_CONTROL, PEER_CONTROL = "10.91.0.1", "10.91.0.2", "10.91.0.3", "10.90.0.1", "10.90.0.2"

    def __init__(self, folder: Path, exits: ExitStack) -> None:
        super().__init__(exits)
        self._folder = folder
        self.rank, self.peer = self.add("fr"), self.add("fp")
        for device, network in (("ctl0", "10.90.0"), ("fab0", "10.91.0")):
            wire = ("link", "add", device, "type", "veth", "peer", "name", device, "netns", self.peer)
            self.ip("-n", self.rank, *wire)
            for name, host in ((self.rank, 1), (self.peer, 2)):
                self.ip("-n", name, "address", "add", f"{network}.{host}/24", "dev", device)
                self.ip("-n", name, "link", "set", device, "up")
        self.ip("-n", self.peer, "address", "add", f"{self.STRANGER}/24", "dev", "fab0")
        self.ip("-n", self.rank, "route", "add", "default", "via", self.PEER_CONTROL)
        for name in (self.rank, self.peer):
            self.listen(name)

    def inside(self, *command: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """A command on the node `rank`."""
        return subprocess.run(
            self.within(self.rank, *command),
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    @property
    def intent(self) -> tuple[str, ...]:
        """The options that name the documents."""
        return "--dir", str(self._folder)

    @staticmethod
    def command(*arguments: str) -> tuple[str, ...]:
        """`ringfence fabric ...`."""
        return *RINGFENCE, "fabric", *arguments

    def fabric(self, *arguments: str) -> str:
        """What `ringfence fabric ...` prints there."""
        done = self.inside(*self.command(*arguments))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def apply(self, *members: str) -> str:
        """With those members of the job, and nobody else."""
        return self.fabric("apply", "fab", *self.intent, "--member", f"llama={','.join(members)}")

    def state(self) -> str:
        """All rules, routes, filters and settings that a fabric could leave behind there.

        Not the kernel's own routes: those of link-local addresses come when duplicates were looked for, at any time.
        """
        shown = (
            "nft -s list ruleset",
            "ip rule",
            "ip -6 rule",
            "ip route show table all",
            "ip -6 route show table all",
        )
        settings = "cd /proc/sys/net/ipv4/conf && grep . */arp_ignore */arp_announce */rp_filter"
        done = self.inside("sh", "-ec", "\n".join((*shown, settings)))
        assert done.returncode == 0, done.stderr
        return "\n".join(line for line in done.stdout.splitlines() if "proto kernel" not in line)
