"""Real Envoys that refuse what they are sent: the last good stays, all else comes, and it is not sent in a loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from ringfence.broker.cli.proxy_diff import differences_of
from ringfence.broker.fleet.dump import dumped
from ringfence.xds import codec
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.snapshot import Resource, Snapshot
from ringfence.xds.types import type_url
from tests.e2e.mesh import Http, Mesh, application, model_of, running_mesh, until
from tests.e2e.test_fleet_envoy import INTENT, synced, variants
from tests.ports import free_port

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

RBAC = "envoy.extensions.filters.http.rbac.v3.RBAC"
NETWORK_RBAC = "envoy.extensions.filters.network.rbac.v3.RBAC"
FILTER = "envoy.config.listener.v3.Filter"
AUTHENTICATED = "envoy.extensions.rbac.principals.mtls_authenticated.v3.Config"
Break = Callable[[Any, int], None]


def unknown_extension(listener: Any, _: int) -> None:
    """A filter that no Envoy has."""
    listener.filter_chains[0].filters[0].typed_config.type_url = type_url("envoy.no.such.Filter")


def duplicate_address(listener: Any, taken: int) -> None:
    """The port of another listener."""
    listener.address.socket_address.port_value = taken


def no_time_to_connect(cluster: Any, _: int) -> None:
    """A value that the schema's own constraints forbid."""
    cluster.connect_timeout.seconds = -1


def header_of_a_connection(listener: Any, _: int) -> None:
    """A rule on connections that asks for what only requests have."""
    rule = {"permissions": [{"header": {"name": "x-role", "present_match": True}}], "principals": [{"any": True}]}
    judge = codec.packed(NETWORK_RBAC, stat_prefix="bad", rules={"action": "ALLOW", "policies": {"bad": rule}})
    listener.filter_chains[0].filters.insert(0, codec.build(FILTER, name="bad", typed_config=judge))


def empty_principals(policy: Any, _: int) -> None:
    """A rule that means nobody."""
    _allow_alone(policy, [])


def empty_authenticated(policy: Any, _: int) -> None:
    """A rule for whoever has a certificate, whatever it says: up to Envoy 1.38 that was everybody who called."""
    whoever = {"type_url": type_url(AUTHENTICATED), "value": b""}
    _allow_alone(policy, [{"custom": {"name": "envoy.rbac.principals.mtls_authenticated", "typed_config": whoever}}])


def _allow_alone(policy: Any, principals: list[Any]) -> None:
    rule = {"permissions": [{"any": True}], "principals": principals}
    policy.typed_config.CopyFrom(codec.packed(RBAC, rules={"action": "ALLOW", "policies": {"bad": rule}}))


# What is broken, the resource, and whether requests to the other port depend on it.
BROKEN = [
    pytest.param(unknown_extension, "inbound/metrics", id="listener: unknown extension"),
    pytest.param(duplicate_address, "inbound/metrics", id="listener: duplicate address"),
    pytest.param(header_of_a_connection, "inbound/metrics", id="listener: a header in rules on connections"),
    pytest.param(no_time_to_connect, "app/metrics", id="cluster: forbidden value"),
    pytest.param(empty_principals, "inbound/metrics/allow", id="policy: empty principals"),
    pytest.param(empty_authenticated, "inbound/metrics/allow", id="policy: what its filter alone finds fault with"),
]


WATCHED = """---
kind: Allow
metadata: {name: watch, namespace: team-a}
spec:
  from: [{workload: trainer}]
  to: [{workload: registry, namespace: shared, port: metrics}]
  owner: ml
  reason: how the registry is
"""
KINDS = {
    unknown_extension: "Listener",
    duplicate_address: "Listener",
    header_of_a_connection: "Listener",
    no_time_to_connect: "Cluster",
}


class Breaking:
    """The compiler, but that one resource is broken while `broken` says how."""

    def __init__(self, name: str, taken: int) -> None:
        self.broken: Break | None = None
        self._name, self._taken = name, taken

    def __call__(self, *arguments: Any, **more: Any) -> Snapshot:
        """What a proxy is to hold, of which it may not take all."""
        made = compile_snapshot(*arguments, **more)
        return Snapshot.of([pair for url, named in made.resources.items() for pair in self._of(url, named)], "r")

    def _of(self, url: str, named: Any) -> Iterator[tuple[str, Resource]]:
        for name, resource in named.items():
            if self.broken is None or name != self._name or not self._is_meant(url):
                yield url, resource
            else:
                message = codec.unpack(resource.any)
                self.broken(message, self._taken)
                yield codec.resource(name, message, resource.needs)

    def _is_meant(self, url: str) -> bool:
        return url.endswith("." + KINDS.get(self.broken, "TypedExtensionConfig"))  # type: ignore[arg-type]


async def settled(mesh: Mesh) -> None:
    """Until the one proxy refuses something and has answered everything."""
    await until(lambda: [proxy.has_refused for proxy in mesh.fleet.connected] == [True])


async def answers(mesh: Mesh, port: int, path: str, status: int) -> None:
    """Until a request is answered so."""

    async def ask() -> None:
        while True:
            http = await Http.connect(port, mesh.client("/ns/team-a/sa/trainer"))
            try:
                if await http.get(path) == status:
                    return
            finally:
                http.close()

    await asyncio.wait_for(ask(), 30)


@pytest.mark.parametrize(("how", "name"), BROKEN)
@variants
async def test_what_is_refused_is_kept_back_and_nothing_else_is(
    tmp_path: Path, how: Break, name: str, *, sotw: bool
) -> None:
    """The rules go on changing, the refused resource is as it was, the operator reads which it is; mended, it comes."""
    async with AsyncExitStack() as stack:
        port, metrics = free_port(), free_port()
        compiler = Breaking(name, port)
        text = INTENT.replace("APP", str(await application(stack)))
        mesh = await stack.enter_async_context(running_mesh(tmp_path, text, compiler=compiler))
        envoy = await mesh.envoy("shared/registry", inbound={"http": port, "metrics": metrics}, state_of_the_world=sotw)
        await until(lambda: len(mesh.fleet) == 1)
        await synced(mesh)
        await answers(mesh, port, "/models/a", 200)

        compiler.broken = how
        mesh.fleet.apply(model_of(text.replace("/models/**", "/other")))
        await settled(mesh)
        (proxy,) = mesh.fleet.connected
        assert [nack.names for nack in proxy.stream.nacks.values()] == [{name}]
        (row,) = mesh.fleet.list_proxies()
        assert (row.state, name in row.detail) == ("NACK", True)
        await answers(mesh, port, "/other", 200)
        await answers(mesh, metrics, "/", 403)  # as before: nobody may, and it is a proxy that says so
        if how is not unknown_extension:  # of which Envoy cannot write a dump
            (sent,) = dumped(mesh.fleet.connected, "shared/registry")
            (found,) = await asyncio.to_thread(differences_of, sent, envoy.admin)
            assert (found["name"], found["difference"]) == (name, "refused; the proxy keeps what it accepted before")

        refusals = mesh.fleet.counts.nacks
        mesh.fleet.apply(model_of(text.replace("/models/**", "/third")))
        await answers(mesh, port, "/third", 200)
        await settled(mesh)
        assert mesh.fleet.counts.nacks == refusals, "it was not sent again"

        compiler.broken = None
        mesh.fleet.apply(model_of(text))
        await synced(mesh)
        await answers(mesh, port, "/models/a", 200)
        (row,) = mesh.fleet.list_proxies()
        assert (row.state, row.detail) == ("SYNCED", "")


@variants
async def test_a_policy_for_anybody_with_a_certificate_lets_nobody_in(tmp_path: Path, *, sotw: bool) -> None:
    """Envoy refuses it and goes on denying by what it had; the operator reads where, and its neighbour is obeyed.

    Both are new at once. In one response Envoy's text would name neither, and it accepts the bytes that it has refused
    when they come again, without using them: nobody would learn of it.
    """
    async with AsyncExitStack() as stack:
        port, metrics = free_port(), free_port()
        compiler = Breaking("inbound/metrics/allow", port)
        text = INTENT.replace("APP", str(await application(stack)))
        mesh = await stack.enter_async_context(running_mesh(tmp_path, text, compiler=compiler))
        await mesh.envoy("shared/registry", inbound={"http": port, "metrics": metrics}, state_of_the_world=sotw)
        await until(lambda: len(mesh.fleet) == 1)
        await synced(mesh)

        compiler.broken = empty_authenticated
        changed = text.replace("/models/**", "/other") + WATCHED
        mesh.fleet.apply(model_of(changed))
        await until(lambda: all(proxy.stream.rests() for proxy in mesh.fleet.connected))
        (row,) = mesh.fleet.list_proxies()
        assert (row.state, row.detail.partition(":")[0]) == ("NACK", "intent.yaml")
        assert "inbound/metrics/allow" in row.detail
        await answers(mesh, port, "/other", 200)
        await answers(mesh, metrics, "/", 403)

        await mesh.lane.close()
        await mesh.start(changed)  # another server, which knows of no refusal
        await until(lambda: len(mesh.fleet) == 1)
        await settled(mesh)
        await answers(mesh, metrics, "/", 403)

        compiler.broken = None
        mesh.fleet.apply(model_of(changed.replace("how the registry is", "how it is")))
        await synced(mesh)
        await answers(mesh, metrics, "/", 503)  # let in, and nothing listens there


@variants
async def test_a_refused_policy_is_refused_still_when_the_proxy_comes_back(tmp_path: Path, *, sotw: bool) -> None:
    """Stream after stream, as each certificate ends: Envoy would accept the bytes that it knows, and not go by them."""
    async with AsyncExitStack() as stack:
        port, metrics = free_port(), free_port()
        compiler = Breaking("inbound/metrics/allow", port)
        text = INTENT.replace("APP", str(await application(stack)))
        mesh = await stack.enter_async_context(running_mesh(tmp_path, text, compiler=compiler))
        await mesh.envoy("shared/registry", inbound={"http": port, "metrics": metrics}, state_of_the_world=sotw)
        await until(lambda: len(mesh.fleet) == 1)
        await synced(mesh)
        compiler.broken = empty_authenticated
        mesh.fleet.apply(model_of(text + WATCHED))
        await settled(mesh)
        for _ in range(3):
            await mesh.lane.close()
            await until(lambda: len(mesh.fleet) == 0)
            await mesh.listen()
            await until(lambda: len(mesh.fleet) == 1)
            await settled(mesh)
            (row,) = mesh.fleet.list_proxies()
            assert (row.state, "inbound/metrics/allow" in row.detail) == ("NACK", True)
            await answers(mesh, port, "/models/a", 200)
            await answers(mesh, metrics, "/", 403)

        compiler.broken = None
        mesh.fleet.apply(model_of((text + WATCHED).replace("how the registry is", "how it is")))
        await synced(mesh)
        await answers(mesh, metrics, "/", 503)  # it is let through, and nobody listens there
