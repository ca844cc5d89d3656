"""Puts the plan of a fabric onto this node with nft(8) and ip(8), as a whole or not at all, and takes it away again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from ringfence.broker.fabric.apply_tools import run
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.plan import SYSCTLS, FabricPlan, Members
from ringfence.fabric.plan_members import delta
from ringfence.fabric.plan_nft import interfaces_in, removal, ruleset, table_of
from ringfence.fabric.plan_routes import Entry, changes, listed, wanted
from ringfence.fabric.plan_sysctl import path_of, recalled, remembered, settings

_SETTINGS = Path("/proc/sys")


@dataclass(frozen=True, slots=True)
class State:
    """What this node has of one fabric; `table` is empty where it has none."""

    table: str  # as nft prints it, without what counts or runs down
    interfaces: tuple[tuple[str, str], ...]  # with what the settings of each were
    entries: tuple[Entry, ...]
    settings: tuple[tuple[str, str], ...]
    kept: str = field(default="", compare=False)  # with that, for nft to read again: members keep their ends


def check(plan: FabricPlan) -> str:
    """What `apply` would change of routes and settings; raises what it would, as far as it can be known before.

    nft checks the packet filter against the kernel and applies nothing.
    """
    before = _state(plan.fabric.key)
    _nft(_rules(plan, before, 0.0), "--check")
    told = "".join(f"sysctl -w {path}={value}\n" for path, value in settings(plan).items() if _get(path) != value)
    return told + "".join(changes(wanted(plan), before.entries, version) for version in (4, 6))


def apply(plan: FabricPlan, now: float = 0.0, memory: Mapping[str, str] = MappingProxyType({})) -> bool:
    """Have the node hold *plan* and nothing else of that fabric at *now*, in Unix seconds; whether it changed anything.

    *memory* is what `settings_before` said while the table was there, for one that somebody has deleted since.
    Raises NOT_FOUND, DENIED or UNAVAILABLE, and the node is then as it was before.
    """
    before = _state(plan.fabric.key)
    old = {path: _get(path) for path in settings(plan)}
    try:
        # 1. Closed before anything leads there.
        _nft(_rules(plan, before, now, memory))
        # 2. What is no longer the fabric's gets its settings back.
        kept = {nic.name for nic in plan.nics}
        _restore(recalled(one for one in before.interfaces if one[0] not in kept))
        for path, value in settings(plan).items():
            _set(path, value)
        # 3. Only what differs: a route that stays is at no moment missing.
        _ip(wanted(plan), before.entries)
    except RingfenceError:
        _roll_back(plan.fabric.key, before, old)
        raise
    return _state(plan.fabric.key) != before or any(_get(path) != value for path, value in old.items())


def refilter(plan: FabricPlan, now: float, memory: Mapping[str, str]) -> None:
    """Replace the packet filter alone, by *plan* at *now* in Unix seconds, which has the interfaces of the last one.

    *memory* is what `settings_before` said of these. One transaction, so that the node is as it was where this raises
    UNAVAILABLE.
    """
    _nft(ruleset(plan, memory, now))


def change_members(key: str, before: Iterable[Members], after: Iterable[Members], now: float) -> None:
    """Have the sets of the fabric's jobs, which hold *before*, hold *after*: one transaction, as in `refilter`."""
    if text := delta(key, before, after, now):
        _nft(text)


def settings_before(key: str) -> dict[str, str]:
    """What the settings of each interface were before the first time, as the table remembers them."""
    return dict(interfaces_in(run(("nft", "-j", "list", "table", *table_of(key).split()))))


def has_drifted(plan: FabricPlan) -> bool:
    """Whether the node has something else than `apply` gave it: an interface that came back, a table that is gone."""
    key = plan.fabric.key
    entries = {entry for version in (4, 6) for entry in _entries(key, version)}
    different = any(_get(path) != value for path, value in settings(plan).items())
    return different or entries != set(wanted(plan)) or not _is_there(key)


def remove(key: str) -> bool:
    """Take away all that the node has of the fabric *key*; whether there was any. Raises as `apply`."""
    before = _state(key)
    _ip((), before.entries)
    _restore(recalled(before.interfaces))
    if before.table:
        _nft(removal(key))
    return bool(before.table or before.entries)


def _roll_back(key: str, before: State, old: dict[str, str]) -> None:
    """As far as it goes: of what failed the first error is told, and whatever is left stays denied."""
    with suppress(RingfenceError):
        _ip(before.entries, _state(key).entries)
    _restore(old)
    _restore(dict(before.settings))
    with suppress(RingfenceError):
        _nft(removal(key) + before.kept)


def _state(key: str) -> State:
    table = interfaces = kept = ""
    if _is_there(key):
        command = ("list", "table", *table_of(key).split())
        table, interfaces, kept = (run(("nft", *option, *command)) for option in (("-s",), ("-j",), ()))
    held = tuple(interfaces_in(interfaces)) if interfaces else ()
    paths = [path_of(name, setting) for name, _ in held for setting in SYSCTLS]
    entries = tuple(entry for version in (4, 6) for entry in _entries(key, version))
    return State(table, held, entries, tuple((path, _get(path)) for path in paths), kept)


def _is_there(key: str) -> bool:
    family, name = table_of(key).split()
    tables = [item.get("table", {}) for item in json.loads(run(("nft", "-j", "list", "tables")))["nftables"]]
    return any((one.get("family"), one.get("name")) == (family, name) for one in tables)


def _entries(key: str, version: int) -> tuple[Entry, ...]:
    ip = ("ip", f"-{version}", "-N", "-j")
    return listed(key, version, run((*ip, "rule", "show")), run((*ip, "route", "show", "table", "all")))


def _rules(plan: FabricPlan, before: State, now: float, memory: Mapping[str, str] = MappingProxyType({})) -> str:
    """With what the settings were before the first time, and not what the last one made of them."""
    known = {**memory, **dict(before.interfaces)}
    found = {
        nic.name: known.get(nic.name) or remembered({name: _get(path_of(nic.name, name)) for name in SYSCTLS})
        for nic in plan.nics
    }
    return ruleset(plan, found, now)


def _nft(text: str, *options: str) -> None:
    run(("nft", *options, "-f", "-"), text)


def _ip(want: tuple[Entry, ...], have: tuple[Entry, ...]) -> None:
    for version in (4, 6):
        if lines := changes(want, have, version):
            run(("ip", f"-{version}", "-batch", "-"), lines)


def _get(path: str) -> str:
    try:
        return (_SETTINGS / path).read_text(encoding="ascii").strip()
    except OSError:  # the interface is gone
        return ""


def _set(path: str, value: str) -> None:
    if _get(path) == value:
        return
    try:
        (_SETTINGS / path).write_text(value, encoding="ascii")
    except OSError as error:
        kind = Kind.DENIED if isinstance(error, PermissionError) else Kind.UNAVAILABLE
        detail = f"cannot write {value}: {error.strerror}"
        raise RingfenceError(kind, detail, where=str(_SETTINGS / path), hint="Run it as root, with /proc/sys") from None


def _restore(values: dict[str, str]) -> None:
    """What an interface that is gone had needs no place."""
    for path, value in values.items():
        if value and _get(path):
            with suppress(RingfenceError):
                _set(path, value)
