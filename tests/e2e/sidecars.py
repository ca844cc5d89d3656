"""Workloads with an Envoy each under a plane of a few lines: every call in it goes through two of them."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from ringfence.broker.run.ports import free_address
from ringfence.certs.revocation import Revocations
from ringfence.policy.model import Model
from ringfence.policy.revoked import with_revoked
from ringfence.policy.scope import Upstream, upstreams_of
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.instance import Address, Endpoint, Instance
from tests.e2e.identities import Domain, secrets
from tests.e2e.plane import Plane
from tests.e2e.proxies import Caller, envoy, listening
from tests.policy import intent
from tests.ports import free_port

NOWHERE: Mapping[tuple[str, str], int] = MappingProxyType({})


class Sidecars:
    """A proxy for each workload of an intent; what each of them serves and may reach has a port of its own."""

    def __init__(self, folder: Path, stack: ExitStack, text: str) -> None:
        self.folder = folder
        self.domain = Domain("example.test")
        self.plane = Plane(str(folder / "agent.sock"))
        stack.callback(self.plane.close)
        self.instances: dict[str, Instance] = {}
        self.model = self.apply(text)
        for key, instance in self.instances.items():
            self.plane.secrets[instance.node_id] = secrets(self.domain, self.model.workloads[key].spiffe_id)
            stack.enter_context(envoy(instance.node_id, self.plane.port, str(folder / "agent.sock"), folder))
        for instance in self.instances.values():
            for host, port in (*instance.inbound.values(), *instance.upstream.values()):
                listening(port, host)

    def apply(
        self, text: str, revocations: Revocations | None = None, at: Mapping[tuple[str, str], int] = NOWHERE
    ) -> Model:
        """Compile these documents for every proxy, with what is revoked, and push; *at*: ports that are elsewhere."""
        model = intent.model_of(text, now=datetime.now(UTC))
        model = with_revoked(model, revocations or Revocations())
        for key in model.workloads.keys() - self.instances.keys():
            self.instances[key] = self._instance(model, key)
        endpoints = {
            (key, name): (Endpoint(*address),)
            for key, instance in self.instances.items()
            for name, address in instance.inbound.items()
        } | {served: (Endpoint("127.0.0.1", port),) for served, port in at.items()}
        for key, instance in self.instances.items():
            snapshot = compile_snapshot(model, model.workloads[key], instance, endpoints, now=datetime.now(UTC))
            self.plane.snapshots.setdefault(instance.node_id, snapshot)
            self.plane.serve(instance.node_id, snapshot)
        return model

    def caller(self, key: str, upstream: str) -> Caller:
        """A connection of that workload to its own proxy's listener of *upstream* (`registry.shared/http`)."""
        return Caller(self.port(key, upstream))

    def connection(self, key: str, upstream: str) -> socket.socket:
        """The same, as a plain socket."""
        return socket.create_connection(("127.0.0.1", self.port(key, upstream)), timeout=20)

    def port(self, key: str, upstream: str) -> int:
        """The loopback port of that listener."""
        return self.instances[key].upstream[upstream][1]

    def admin(self, key: str) -> Path:
        """The admin socket of a workload's Envoy."""
        return self.folder / f"{self.instances[key].node_id}.admin"

    def _instance(self, model: Model, key: str) -> Instance:
        workload = model.workloads[key]
        return Instance(
            key.replace("/", "-"),
            inbound={port.name: ("127.0.0.1", free_port()) for port in workload.serves},
            upstream={upstream.name: _address(model, upstream) for upstream in upstreams_of(model, workload)},
            socket_dir=str(self.folder),
        )


def _address(model: Model, upstream: Upstream) -> Address:
    port = None if upstream.external else model.workloads[upstream.key].port(upstream.port)
    return (free_address(port.numbers), port.number) if port is not None and port.last else ("127.0.0.1", free_port())


@contextmanager
def sidecars(folder: Path, text: str) -> Iterator[Sidecars]:
    """All of them, running."""
    with ExitStack() as stack:
        yield Sidecars(folder, stack, text)
