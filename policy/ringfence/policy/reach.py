"""May one workload reach another: an answer for every way that a call can take, each with what enforces it.

`ringfence authz check` judges one request at a proxy. This says what the proxies let through of all requests, what is
known of the node's network past them, and what grants allow on fabrics, where no proxy stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.policy.externals import External, ExternalPort
from ringfence.policy.findings import did_you_mean
from ringfence.policy.model import Model, Port, Workload
from ringfence.policy.reach_fabric import by_fabric
from ringfence.policy.reach_nic import Walls, by_nic
from ringfence.policy.reach_proxy import by_proxy, undeclared
from ringfence.policy.way import Leg, Reached


@dataclass(frozen=True, slots=True)
class Asked:
    """From whom to whom, by NAMESPACE/NAME; a port by its name or number, all that are declared where it is empty."""

    caller: str
    called: str
    port: str = ""
    caller_walls: Walls | None = None
    called_walls: Walls | None = None


@dataclass(frozen=True, slots=True)
class Reach:
    """The legs of every way, in the order proxy, primary NIC, fabric."""

    legs: tuple[Leg, ...]

    @property
    def allowed(self) -> bool:
        """Whether intent lets any of it; what is unknown is let by nobody."""
        return any(leg.verdict in {Reached.ALLOW, Reached.SOME} for leg in self.legs)


def reach(model: Model, asked: Asked, now: datetime) -> Reach:
    """The answer at *now*; raises NOT_FOUND for who is not declared, INVALID for a port of no such name or number."""
    caller, called = _workload(model, asked.caller), _called(model, asked.called)
    ports, number = _ports(called, asked.port)
    legs = [leg for port in ports for leg in by_proxy(model, caller, called, port, now)]
    unnamed = f"{called.key} {asked.port}" if asked.port else f"{called.key} any port"
    legs += [] if ports else [undeclared(unnamed)]
    for port in ports or (None,):
        target = f"{called.key} {_place(port)}" if port is not None else unnamed
        legs.append(by_nic(called, port, target, asked.caller_walls, asked.called_walls))
    if isinstance(called, Workload):
        legs += by_fabric(model, caller, called, number, now)
    return Reach(tuple(legs))


def _workload(model: Model, key: str) -> Workload:
    found = model.workloads.get(key)
    if found is None:
        hint = did_you_mean(key, model.workloads) or "Write NAMESPACE/NAME"
        raise RingfenceError(Kind.NOT_FOUND, f"no document declares the workload {key!r}", hint=hint)
    return found


def _called(model: Model, key: str) -> Workload | External:
    return model.externals[key] if key in model.externals else _workload(model, key)


def _ports(called: Workload | External, text: str) -> tuple[tuple[Port | ExternalPort, ...], int]:
    """Those that are meant, and the number on a fabric; 0 for all that there are."""
    held: tuple[Port | ExternalPort, ...] = called.serves if isinstance(called, Workload) else called.ports
    if not text:
        return held, 0
    named = tuple(port for port in held if port.name == text)
    if named:
        return named, named[0].number
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text) < 1 << 16:
        known = ", ".join(port.name for port in held) or "none"
        raise RingfenceError(Kind.INVALID, f"{called.key} has no port {text!r}; it has: {known}", hint="Or a number")
    number = int(text)
    return tuple(port for port in held if number in _numbers(port)), number


def _numbers(port: Port | ExternalPort) -> range:
    return port.numbers if isinstance(port, Port) else range(port.number, port.number + 1)


def _place(port: Port | ExternalPort) -> str:
    if isinstance(port, Port) and port.socket:
        return f"{port.name} ({port.socket})"
    numbers = _numbers(port)
    last = f"-{numbers[-1]}" if len(numbers) > 1 else ""
    return f"{port.name} ({numbers[0]}{last})"
