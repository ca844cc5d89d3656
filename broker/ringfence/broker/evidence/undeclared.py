"""What to write so that a workload may leave for a host: nothing is opened by it, it is the next step for a person."""

from __future__ import annotations

from ringfence.certs.errors import RingfenceError
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.externals import External
from ringfence.policy.forbidden import is_metadata
from ringfence.policy.model import Model
from ringfence.policy.resolve import host_of
from ringfence.policy.wildcard import owner
from ringfence.xds.virtual import workload_key


def next_step(model: Model | None, workload: str, host: str) -> str:
    """For a denied departure of *workload* (a SPIFFE ID) to *host*, as it was asked for; empty where none is known."""
    name = host_of(host.lower())
    if is_metadata(name):
        return "Nothing: no workload may reach a metadata service"
    caller = _caller(model, workload)
    if model is None or caller is None:
        return ""
    if key := workload_key(name):
        return _in_the_mesh(model, caller, key)
    found = model.externals.get(name) or owner(model.externals.values(), name)
    if found is None:
        return f"Declare an External with host: {name}, and an Allow from {caller} to it"
    return f"{found.origin} declares it as {found.key}: add an Allow from {caller} to port {_ports(found)}"


def _in_the_mesh(model: Model, caller: str, key: str) -> str:
    """For a name that only a captured program asks for."""
    served = model.workloads.get(key)
    if served is None:
        return f"No document declares Workload {key}"
    ports = ", ".join(f"{port.name} ({port.number})" if port.number else port.name for port in served.serves)
    return (
        f"{served.origin} serves {ports or 'nothing'}: add an Allow from {caller} to one of them, and dial its number"
    )


def _ports(external: External) -> str:
    return " or ".join(port.name for port in external.ports)


def _caller(model: Model | None, workload: str) -> str | None:
    try:
        spiffe_id = SpiffeId.parse(workload)
    except RingfenceError:
        return None
    known = model.workload_of(spiffe_id) if model is not None else None
    return known.key if known is not None else None
