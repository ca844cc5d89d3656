"""Small snapshots, and model clients that read responses as the protocol says a client must."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ringfence.xds.codec import message
from ringfence.xds.delta import DeltaStream
from ringfence.xds.discovery import DeltaRequest, Out, SotwRequest
from ringfence.xds.snapshot import Resource, Snapshot, content_version
from ringfence.xds.sotw import SotwStream
from ringfence.xds.types import CLUSTER, ENDPOINT, EXTENSION_CONFIG, LISTENER, ROUTE

NAMES = ("a", "b", "c")
# What a resource of these types asks for by its own name, as an EDS cluster asks for its endpoints.
ASKS = {CLUSTER: (ENDPOINT,), LISTENER: (ROUTE, EXTENSION_CONFIG)}


def resource(type_url: str, name: str, content: str = "1", needs: Iterable[tuple[str, str]] = ()) -> Resource:
    """A resource whose bytes are an Any that holds *content*."""
    any_class = message("google.protobuf.Any")
    data = any_class(type_url=type_url, value=f"{name}={content}".encode()).SerializeToString()
    return Resource(name, content_version(data), data, frozenset(needs))


def snapshot(*resources: tuple[str, Resource], revision: str = "r1") -> Snapshot:
    """A snapshot of (type URL, resource) pairs."""
    return Snapshot.of(resources, revision)


def world(contents: Mapping[tuple[str, str], str], revision: str = "r1") -> Snapshot:
    """A closed snapshot: clusters with endpoints, listeners with routes and filters, each of the same name."""
    pairs = []
    for (url, name), content in contents.items():
        needs = [(kind, name) for kind in ASKS.get(url, ())]
        pairs.append((url, resource(url, name, content, needs)))
        pairs += [
            (kind, resource(kind, name, contents.get((kind, name), "0")))
            for kind, _ in needs
            if (kind, name) not in contents
        ]
    return Snapshot.of(pairs, revision)


def named(out: Out) -> dict[str, str]:
    """Name to content of what a SotW response holds; refuses a name that comes twice."""
    read: Any = message("envoy.service.discovery.v3.DiscoveryResponse").FromString(out.payload)
    assert (read.type_url, read.nonce, read.version_info) == (out.type_url, out.nonce, out.version)
    pairs = [entry.value.decode().split("=") for entry in read.resources]
    assert len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs)


def changes(out: Out) -> tuple[dict[str, str], set[str]]:
    """Name to content of what a Delta response holds, and what it removes."""
    read: Any = message("envoy.service.discovery.v3.DeltaDiscoveryResponse").FromString(out.payload)
    assert (read.type_url, read.nonce, read.system_version_info) == (out.type_url, out.nonce, out.version)
    names = [entry.name for entry in read.resources]
    assert len(set(names)) == len(names)
    assert not set(names) & set(read.removed_resources)
    contents = dict(entry.resource.value.decode().split("=") for entry in read.resources)
    assert list(contents) == names
    return contents, set(read.removed_resources)


@dataclass
class SotwClient:
    """A client as Envoy is one: takes all clusters and listeners, and asks by name for what they need."""

    stream: SotwStream
    snapshot: Snapshot
    holds: dict[str, dict[str, str]] = field(default_factory=dict)
    wants: dict[str, tuple[str, ...]] = field(default_factory=dict)
    nonce: dict[str, str] = field(default_factory=dict)
    version: dict[str, str] = field(default_factory=dict)
    refuses: set[str] = field(default_factory=set)  # contents that it NACKs
    blames: bool = False  # by the names that have them
    inbox: list[Out] = field(default_factory=list)
    nonces: set[str] = field(default_factory=set)

    def ask(self, url: str, names: Iterable[str] = (), *, error: str | None = None) -> None:
        """Send a request of *url* with what was last received."""
        self.wants[url] = tuple(names)
        request = SotwRequest(url, tuple(names), self.nonce.get(url, ""), self.version.get(url, ""), error)
        self.take(self.stream.receive(request, self.snapshot))

    def take(self, outs: list[Out]) -> None:
        """Put responses into the inbox, which is read later."""
        assert not self.nonces & {out.nonce for out in outs}
        self.nonces |= {out.nonce for out in outs}
        self.inbox += outs

    def push(self, new: Snapshot) -> None:
        """Let the server have a new snapshot."""
        self.snapshot = new
        self.take(self.stream.update(new))

    def read_one(self) -> None:
        """Read one response, answer it, and ask for what it needs."""
        out = self.inbox.pop(0)
        url = out.type_url
        contents = named(out)
        self.nonce[url] = out.nonce
        if self.refuses & set(contents.values()):
            self.ask(url, self.wants[url], error=_error(self.refuses, self.blames, contents))
            return
        self.version[url] = out.version
        if url in ASKS:
            self.holds[url] = contents
        else:  # What nobody wants any more is let go, however late it comes.
            self.holds.setdefault(url, {}).update({n: c for n, c in contents.items() if n in self.wants[url]})
        self.ask(url, self.wants[url])
        for needed in ASKS.get(url, ()):
            if tuple(sorted(contents)) != self.wants.get(needed, ()):
                gone = self.holds.get(needed, {}).keys() - contents.keys()
                self.holds[needed] = {n: c for n, c in self.holds.get(needed, {}).items() if n not in gone}
                self.ask(needed, sorted(contents))

    def drain(self) -> None:
        """Read until nothing is left."""
        for _ in range(500):
            if not self.inbox:
                return
            self.read_one()
        msg = "the stream never comes to rest"
        raise AssertionError(msg)


@dataclass
class DeltaClient:
    """The same client in the incremental variant; it can lose its stream and come back with what it holds."""

    stream: DeltaStream
    snapshot: Snapshot
    holds: dict[str, dict[str, str]] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    wants: dict[str, set[str]] = field(default_factory=dict)
    refuses: set[str] = field(default_factory=set)
    blames: bool = False
    inbox: list[Out] = field(default_factory=list)
    nonces: set[str] = field(default_factory=set)

    def start(self) -> None:
        """Open a stream: every type's first request carries what is held."""
        for url in ASKS:
            self.send(DeltaRequest(url, initial=dict(self.versions.get(url, {}))))
        for url, names in self.wants.items():
            if names:
                self.send(DeltaRequest(url, tuple(sorted(names)), initial=dict(self.versions.get(url, {}))))

    def send(self, request: DeltaRequest) -> None:
        """Send one request."""
        outs = self.stream.receive(request, self.snapshot)
        assert not self.nonces & {out.nonce for out in outs}
        self.nonces |= {out.nonce for out in outs}
        self.inbox += outs

    def push(self, new: Snapshot) -> None:
        """Let the server have a new snapshot."""
        self.snapshot = new
        self.inbox += self.stream.update(new)

    def read_one(self) -> None:
        """Read one response, answer it, and change what is subscribed to by what it needs."""
        out = self.inbox.pop(0)
        url = out.type_url
        contents, removed = changes(out)
        if self.refuses & set(contents.values()):
            self.send(DeltaRequest(url, nonce=out.nonce, error=_error(self.refuses, self.blames, contents)))
            return
        read: Any = message("envoy.service.discovery.v3.DeltaDiscoveryResponse").FromString(out.payload)
        for entry in read.resources:
            if url in ASKS or entry.name in self.wants[url]:  # what nobody wants any more is let go
                self.versions.setdefault(url, {})[entry.name] = entry.version
                self.holds.setdefault(url, {})[entry.name] = contents[entry.name]
        for name in removed:
            self.holds.get(url, {}).pop(name, None)
            self.versions.get(url, {}).pop(name, None)
        self.send(DeltaRequest(url, nonce=out.nonce))
        for needed in ASKS.get(url, ()):
            self._follow(needed, set(self.holds.get(url, {})))

    def _follow(self, url: str, names: set[str]) -> None:
        old = self.wants.get(url, set())
        self.wants[url] = names
        if names != old:
            for name in old - names:
                self.holds.get(url, {}).pop(name, None)
                self.versions.get(url, {}).pop(name, None)
            self.send(DeltaRequest(url, tuple(sorted(names - old)), tuple(sorted(old - names))))

    def drain(self) -> None:
        """Read until nothing is left."""
        for _ in range(500):
            if not self.inbox:
                return
            self.read_one()
        msg = "the stream never comes to rest"
        raise AssertionError(msg)


def _error(refuses: set[str], blames: bool, contents: Mapping[str, str]) -> str:  # noqa: FBT001
    """What a client says of a response that it refuses: Envoy names the culprits more often than not."""
    return f"no: {', '.join(name for name, c in contents.items() if c in refuses)}: bad" if blames else "no"
