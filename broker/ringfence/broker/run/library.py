"""A run without a proxy: the command's own gRPC library gets certificates as files, kept fresh, and names to dial."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ringfence.broker.log import configure
from ringfence.broker.run.grpc_bootstrap import BUNDLE_MAP, Bootstrap
from ringfence.broker.run.plan import Launch, ProxyPlan, Who
from ringfence.broker.run.ports import check_host
from ringfence.broker.svidfiles.notify import Hook
from ringfence.broker.svidfiles.wanted import Access, Wanted
from ringfence.broker.svidfiles.writer import Job, Writer, write_once

_GRPC = "grpc"
_CERTIFICATES = 0o600  # the folder is private, and so is all in it


def plan_library(who: Who, launch: Launch, described: Any, *, inbound_host: str, socket_dir: Path) -> ProxyPlan:
    """Its gRPC ports at their own numbers, and its gRPC upstreams by name; raises INVALID for a host that is no IP."""
    served = {port.name: port.port for port in described.served if port.protocol == _GRPC and not port.socket}
    if served:
        check_host(inbound_host)
    upstreams = [up for up in described.upstreams if up.protocol == _GRPC and not up.external]
    return ProxyPlan(
        who=who,
        node_id=f"{who}/{uuid.uuid4()}",
        spiffe_id=described.spiffe_id,
        launch=launch,
        served=served,
        inbound={name: f"{inbound_host}:{number}" for name, number in served.items()},
        upstream={up.key: f"xds:///{up.key.replace('/', ':')}" for up in upstreams},
        environment={up.env: up.key for up in upstreams},
        egress="",
        socket_dir=str(socket_dir),
    )


def needing_a_proxy(described: Any) -> Iterator[str]:
    """What the workload serves or may reach and its library cannot, in words."""
    for port in described.served:
        if port.protocol != _GRPC or port.socket:
            what = f"on the Unix socket {port.socket}" if port.socket else f"by {port.protocol}"
            yield f"port {port.name}, served {what}, needs a proxy"
    for up in described.upstreams:
        if up.external:
            yield f"{up.key}, outside the mesh, needs a proxy"
        elif up.protocol != _GRPC:
            yield f"{up.key}, which speaks {up.protocol}, needs a proxy"


class Library:
    """The files of one run; `keep` follows the agent until it is cancelled."""

    pids: frozenset[int] = frozenset()  # nothing runs beside the command

    def __init__(self, folder: Path, plan: ProxyPlan) -> None:
        self._plan = plan
        self._folder = folder
        wanted = Wanted(bundle_map=BUNDLE_MAP, spiffe_id=plan.spiffe_id)
        access = Access(cert_mode=_CERTIFICATES)
        self._job = Job(plan.launch.workload_socket, folder, wanted, access, Hook())

    async def start(self, patience: float) -> None:
        """Write the first set; raises what the agent says within *patience* seconds."""
        configure("warning")
        self._folder.mkdir(mode=0o700)
        await write_once(self._job, patience=patience)

    def bootstrap(self) -> str:
        """What gRPC is told."""
        launch = self._plan.launch
        return Bootstrap(
            (launch.server, *launch.others),
            self._plan.node_id,
            self._folder,
            self._plan.spiffe_id,
            self._plan.inbound,
            self._job.wanted,
            launch.locality,
        ).text()

    async def keep(self) -> int:
        """Write every renewal; never returns."""
        await Writer(self._job).run()
        raise AssertionError("the writer follows the agent until it is cancelled")
