"""Whether rules of nftables take the TCP of an interface, as `nft -j list ruleset` prints them.

iptables of today writes nftables too, so that a mesh's capture is seen whoever wrote it; what iptables-legacy wrote is
not in there. A ruleset is read as the kernel does: chains of a hook by priority, rules in order, jumps followed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ringfence.fabric.doctor.bounded import MAX_FACTS, Network, from_json, network, objects, whole, words

MAX_JUMPS = 16  # the kernel's own limit
MAX_RULES = 20_000  # walked for one interface
_TAKING = ("redirect", "tproxy", "dnat")
_ENDING = ("return", "accept", "drop", "reject")
_TARGETS = {"REDIRECT": "redirect", "TPROXY": "tproxy", "DNAT": "dnat"}  # of iptables, which nft shows as xt
_FAMILIES = {"ip", "ip6", "inet"}
_KEYS = {"output": "oifname", "prerouting": "iifname"}
_PLAIN = {"oifname", "iifname", "oif", "iif"}


@dataclass(frozen=True, slots=True)
class Capture:
    """A rule that takes traffic: where it stands, what it does, and to which port (0 where it says none)."""

    family: str
    table: str
    chain: str
    handle: int
    verb: str
    port: int

    @property
    def where(self) -> str:
        """As `nft` names a rule."""
        return f"{self.family} {self.table} {self.chain} handle {self.handle}"


_ChainKey = tuple[str, str, str]


@dataclass(slots=True)
class _Ruleset:
    bases: list[tuple[int, _ChainKey, str]] = field(default_factory=list)  # priority, chain, hook
    rules: dict[_ChainKey, list[dict[str, Any]]] = field(default_factory=dict)
    sets: dict[_ChainKey, list[Any]] = field(default_factory=dict)
    networks: tuple[Network, ...] = ()
    walked: int = 0


def captures(text: str, interface: str, networks: tuple[Network, ...] = ()) -> tuple[Capture, ...]:
    """The first rule of each hook and table that takes TCP by *interface* before any rule lets it pass.

    A rule for addresses outside *networks*, or for single ports, takes services of a cluster and no collective.
    """
    ruleset = _ruleset(from_json(text))
    ruleset.networks = networks
    found: dict[tuple[str, str], Capture] = {}
    for _, chain, hook in sorted(ruleset.bases):
        taking = _walk(ruleset, chain, _KEYS[hook], interface, 0)
        if isinstance(taking, Capture):
            found.setdefault((hook, taking.table), taking)
    return tuple(found.values())


def _ruleset(told: Any) -> _Ruleset:
    ruleset = _Ruleset()
    listed = told.get("nftables") if isinstance(told, dict) else None
    for one in listed[: MAX_FACTS * 8] if isinstance(listed, list) else ():
        if isinstance(one, dict):
            _note(ruleset, one)
    return ruleset


def _note(ruleset: _Ruleset, one: dict[str, Any]) -> None:
    for kind in ("chain", "rule", "set"):
        said = one.get(kind)
        if not isinstance(said, dict):
            continue
        name = words(said.get("chain" if kind == "rule" else "name"))
        key = (words(said.get("family")), words(said.get("table")), name)
        hook = words(said.get("hook"))
        if kind == "rule":
            ruleset.rules.setdefault(key, []).append(said)
        elif kind == "set":
            ruleset.sets[key] = _elements(said.get("elem"))
        elif hook in _KEYS and key[0] in _FAMILIES:
            priority = said.get("prio")
            ruleset.bases.append((priority if isinstance(priority, int) else 0, key, hook))


def _walk(ruleset: _Ruleset, chain: _ChainKey, key: str, interface: str, depth: int) -> Capture | str | None:
    """The capture, or the verdict that ends the chain, or None where its end is reached."""
    if depth > MAX_JUMPS:
        return None
    for rule in ruleset.rules.get(chain, ()):
        ruleset.walked += 1
        if ruleset.walked > MAX_RULES:
            return None
        verdict = _judge(ruleset, chain, rule, key, interface, depth)
        if verdict is not None:
            return verdict
    return None


def _judge(
    ruleset: _Ruleset, chain: _ChainKey, rule: dict[str, Any], key: str, interface: str, depth: int
) -> Capture | str | None:
    matched, conditional = True, False
    for statement in objects(rule.get("expr")):
        if "match" in statement:
            by_interface = _match(ruleset, chain, statement["match"], key, interface)
            matched = matched and by_interface is not False
            conditional = conditional or by_interface is None
        elif matched:
            verdict = _verdict(ruleset, chain, rule, statement, key, interface, depth)
            if isinstance(verdict, Capture) or (verdict is not None and not conditional):
                return verdict
    return None


def _verdict(
    ruleset: _Ruleset,
    chain: _ChainKey,
    rule: dict[str, Any],
    statement: dict[str, Any],
    key: str,
    interface: str,
    depth: int,
) -> Capture | str | None:
    for verb in _TAKING:
        if verb in statement:
            return Capture(*chain, whole(rule.get("handle")) or 0, verb, _port(statement[verb]))
    target = statement.get("xt")
    if isinstance(target, dict) and (taking := _TARGETS.get(words(target.get("name")))):
        return Capture(*chain, whole(rule.get("handle")) or 0, taking, 0)
    for verb in ("jump", "goto"):
        if isinstance(target := statement.get(verb), dict):
            inner = _walk(ruleset, (*chain[:2], words(target.get("target"))), key, interface, depth + 1)
            if isinstance(inner, Capture):
                return inner
            # After a goto its caller does not go on; `return` inside a jumped chain only leaves that chain.
            return "accept" if verb == "goto" or inner not in {None, "return"} else None
    return next((verb for verb in _ENDING if verb in statement), None)


def _match(ruleset: _Ruleset, chain: _ChainKey, match: Any, key: str, interface: str) -> bool | None:
    """Whether the match holds for *interface*; None where it asks for something else, which may or may not hold."""
    left = match.get("left") if isinstance(match, dict) else None
    meta = left.get("meta") if isinstance(left, dict) else None
    asked = words(meta.get("key")) if isinstance(meta, dict) else ""
    if asked in {"l4proto", "nfproto"}:
        return _not_other_protocol(match, asked)
    if asked not in _PLAIN:
        return _match_packet(ruleset, chain, match, left)
    if not asked.startswith(key[:3]):
        return False  # output has no interface to enter by, prerouting none to leave by
    named = any(_names(element, interface) for element in _right(ruleset, chain, match.get("right")))
    return named is not (words(match.get("op")) == "!=")


def _match_packet(ruleset: _Ruleset, chain: _ChainKey, match: Any, left: Any) -> bool | None:
    payload = left.get("payload") if isinstance(left, dict) else None
    asked = words(payload.get("field")) if isinstance(payload, dict) else ""
    if match.get("op") not in {"==", "in"} or asked not in {"dport", "daddr"}:
        return None
    named = list(_right(ruleset, chain, match.get("right")))
    if asked == "dport":
        return False if all(isinstance(one, int) for one in named) else None
    known = [network(_cidr(one)) for one in named]
    overlapping = any(one is None or _overlaps(one, ruleset.networks) for one in known)
    return None if overlapping or not ruleset.networks else False


def _cidr(element: Any) -> str:
    prefix = element.get("prefix") if isinstance(element, dict) else None
    return f"{words(prefix.get('addr'))}/{prefix.get('len')}" if isinstance(prefix, dict) else words(element)


def _overlaps(one: Network, networks: tuple[Network, ...]) -> bool:
    return any(one.version == other.version and one.overlaps(other) for other in networks)


def _not_other_protocol(match: dict[str, Any], asked: str) -> bool:
    """TCP over IPv4 or IPv6 is what is looked for: a rule for UDP does not take it."""
    named = {words(one) for one in _elements(match.get("right"))}
    wanted = {"tcp", "6"} if asked == "l4proto" else {"ipv4", "ipv6", "2", "10"}
    return bool(named & wanted) is not (words(match.get("op")) == "!=")


def _right(ruleset: _Ruleset, chain: _ChainKey, right: Any) -> Iterator[Any]:
    if isinstance(right, str) and right.startswith("@"):
        yield from ruleset.sets.get((*chain[:2], right[1:]), ())
    else:
        yield from _elements(right)


def _elements(value: Any) -> list[Any]:
    held = value.get("set", value) if isinstance(value, dict) else value
    listed = held if isinstance(held, list) else [held]
    return [one.get("val") if isinstance(one, dict) and "val" in one else one for one in listed[:MAX_FACTS]]


def _names(element: Any, interface: str) -> bool:
    pattern = words(element)
    return interface.startswith(pattern[:-1]) if pattern.endswith("*") else pattern == interface


def _port(said: Any) -> int:
    return (whole(said.get("port")) or 0) if isinstance(said, dict) else 0
