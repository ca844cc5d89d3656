"""What the workload finds in its environment: its sockets, its identity, and an address for all it may reach."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ringfence.broker.run.plan import ProxyPlan

_OURS = (
    *("RINGFENCE_UPSTREAM_", "RINGFENCE_PORT_", "RINGFENCE_LISTEN_", "RINGFENCE_EGRESS"),
    *("RINGFENCE_IDENTITY", "RINGFENCE_SOCKET_DIR", "RINGFENCE_REGION", "RINGFENCE_ZONE"),
)


def workload_environment(plan: ProxyPlan, inherited: Mapping[str, str]) -> dict[str, str]:
    """*inherited*, without what an outer run left, and the variables of docs/run.md."""
    socket = plan.launch.workload_socket
    ours = {
        "RINGFENCE_SOCKET": socket,
        "SPIFFE_ENDPOINT_SOCKET": f"unix://{socket}",
        "RINGFENCE_IDENTITY": plan.spiffe_id,
        "RINGFENCE_SOCKET_DIR": plan.socket_dir,
    }
    ours |= {name: f"{plan.upstream[key]}{_end(plan, key)}" for name, key in plan.environment.items()}
    ours |= {
        f"RINGFENCE_PORT_{_variable(name)}": f"{port}{_end(plan, name)}" for name, port in plan.served.items() if port
    }
    ours |= {f"RINGFENCE_{what.upper()}": name for what, name in plan.launch.locality.fields().items()}
    if plan.egress:
        ours["RINGFENCE_EGRESS"] = f"http://{plan.egress}"
    return {name: value for name, value in inherited.items() if not name.startswith(_OURS)} | ours


def library_environment(plan: ProxyPlan, inherited: Mapping[str, str], bootstrap: Path) -> dict[str, str]:
    """The same for a command that is its own proxy: targets for addresses, where to listen, and gRPC's bootstrap."""
    from ringfence.broker.run.grpc_bootstrap import BY_BUNDLE_MAP  # what it needs takes time to read

    listen = {f"RINGFENCE_LISTEN_{_variable(name)}": address for name, address in plan.inbound.items()}
    found = workload_environment(plan, inherited) | listen | BY_BUNDLE_MAP
    found.pop("GRPC_XDS_BOOTSTRAP_CONFIG", None)
    return found | {"GRPC_XDS_BOOTSTRAP": str(bootstrap)}


def _end(plan: ProxyPlan, name: str) -> str:
    """`-LAST` behind the first port of a range; nothing behind the only one."""
    return f"-{plan.last[name]}" if name in plan.last else ""


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")
