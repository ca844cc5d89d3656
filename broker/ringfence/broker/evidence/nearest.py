"""What would allow a denied call: the Allow that lacks least, and what it lacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address

from ringfence.broker.evidence.judge import HEADERS, TOKENS, header_line, token_shown
from ringfence.broker.evidence.record import Record
from ringfence.certs.errors import RingfenceError
from ringfence.policy.callers import within
from ringfence.policy.canonical import canonical_path
from ringfence.policy.evaluate import in_force
from ringfence.policy.headers import Headers
from ringfence.policy.identities import Identity, identity
from ringfence.policy.model import CONNECTION_LIMITED, REVOKED, Destination, Effect, HttpMatch, Mode, Model, Rule
from ringfence.policy.plaintext import PLAINTEXT
from ringfence.policy.scope import narrowest, narrowest_from
from ringfence.policy.tokens import NONE, Tokens
from ringfence.policy.traffic import RATE_LIMITED
from ringfence.policy.wildcard import is_asked, owner


@dataclass(frozen=True, slots=True)
class Nearest:
    """An Allow and everything that keeps it from allowing the call, in words."""

    rule: Rule
    lacks: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.rule.id} ({self.rule.origin}), if {' and '.join(self.lacks)}"


@dataclass(frozen=True, slots=True)
class Denied:
    """A denied call, in the model's terms; `port` empty means any."""

    source: Identity | None
    destination: str  # key
    port: str
    method: str
    path: str
    headers: Headers = ()  # these two are empty where they are not known: proxies do not report them
    tokens: Tokens = field(default_factory=lambda: NONE)
    address: str = ""  # empty where it is not known
    plaintext: bool = False  # without a source: it came without mutual TLS to a port that takes that
    server_name: str = ""  # the host outside that was asked for


def advise(model: Model, record: Record, now: datetime) -> dict[str, str]:
    """What would allow a denied *record*, as the attribute `nearest`; nothing for an allowed one."""
    if record.rule == REVOKED:
        return {"nearest": "no Allow, while that is revoked"}
    if record.rule == RATE_LIMITED:
        return {"nearest": "the rules that there are, once the limit has room again"}
    if record.rule == CONNECTION_LIMITED:
        return {"nearest": "the rules that there are, once a connection has ended"}
    denied = None if record.allowed else _denied_of(model, record)
    found = nearest_allow(model, denied, now) if denied is not None else None
    return {"nearest": str(found)} if found is not None else {}


def _denied_of(model: Model, record: Record) -> Denied | None:
    """The denied call of *record* in the model's terms; None when it is about nobody that the model holds."""
    key = _key(model, record.destination)
    if key is None:
        return None
    port = record.attributes.get("port", "")
    kind, slash, name = record.attributes.get("listener", "").partition("/")
    if not port and slash:
        port = name if kind == "inbound" else name.rpartition("/")[2]
    headers = tuple(map(header_line, record.attributes.get(HEADERS, "").splitlines()))
    tokens = dict(map(token_shown, record.attributes.get(TOKENS, "").splitlines()))
    return Denied(
        _identity(record.source),
        key,
        port,
        record.method,
        record.path,
        headers,
        tokens,
        _address_of(record),
        record.source == PLAINTEXT,
        _host(record.destination),
    )


def _address_of(record: Record) -> str:
    """Without the port that a proxy writes behind it; empty for what is none."""
    told = record.attributes.get("peer.address", "")
    for text in (told, told.rpartition(":")[0].strip("[]")):
        with suppress(ValueError):
            return str(ip_address(text))
    return ""


def nearest_allow(model: Model, denied: Denied, now: datetime) -> Nearest | None:
    """The Allow into the destination that lacks least; None when no Allow names the destination at all."""
    candidates = [
        Nearest(rule, tuple(_lacks(model, rule, denied, now)))
        for rule in model.rules
        if rule.effect is Effect.ALLOW and any(d.key == denied.destination for d in rule.destinations)
    ]
    # A rule that lacks nothing did not decide because a Deny won: it is no advice.
    return min((n for n in candidates if n.lacks), key=lambda n: (len(n.lacks), n.rule.id), default=None)


def _identity(name: str) -> Identity | None:
    try:
        return identity(name)
    except RingfenceError:
        return None


def _key(model: Model, destination: str) -> str | None:
    if (named := _identity(destination)) is not None:
        workload = model.workload_of(named)
        return workload.key if workload is not None else None
    external = model.externals.get(destination) or owner(model.externals.values(), _host(destination))
    return external.key if external is not None else None


def _host(destination: str) -> str:
    """Of HOST or HOST:PORT."""
    return (destination.rpartition(":")[0] or destination).lower()


def _lacks(model: Model, rule: Rule, denied: Denied, now: datetime) -> Iterator[str]:
    if denied.plaintext:
        yield from _lacks_plaintext(rule, denied.address)
    elif denied.source is None or narrowest(rule, denied.source, model.mesh.trust_domain) is None:
        yield f"its from named {denied.source or 'the caller'}"
    elif narrowest_from(rule, denied.source, model.mesh.trust_domain, denied.address) is None:
        yield f"it came from {' or '.join(sorted({cidr for source in rule.sources for cidr in source.cidrs}))}"
    if denied.port and Destination(denied.destination, denied.port) not in rule.destinations:
        yield f"its to named port {denied.port}"
    if rule.server_names and not _asks(model, rule, denied):
        names = ", ".join(rule.server_names)
        is_one = "*" not in denied.server_name
        yield f"its serverNames named {denied.server_name} beside {names}" if is_one else f"it asked for {names}"
    if rule.mode is Mode.SHADOW:
        yield "it were enforced instead of shadow"
    if not in_force(rule, now):
        yield "it had not expired"
    if rule.token is not None and not rule.token.allows(denied.tokens):
        yield f"it had {rule.token}"
    if rule.http and denied.method:
        yield from min((tuple(_http_lacks(match, denied)) for match in rule.http), key=len)


def _asks(model: Model, rule: Rule, denied: Denied) -> bool:
    external = model.externals.get(denied.destination)
    return external is not None and is_asked(external, rule.server_names, denied.server_name)


def _lacks_plaintext(rule: Rule, address: str) -> Iterator[str]:
    if rule.plaintext is None:
        yield "its from named plaintext callers"
    elif not within(rule.plaintext, address, unknown=False):
        yield f"it came from {' or '.join(rule.plaintext)}"


def _http_lacks(match: HttpMatch, denied: Denied) -> Iterator[str]:
    if match.methods and denied.method not in match.methods:
        yield f"its methods named {denied.method} beside {', '.join(sorted(match.methods))}"
    path = canonical_path(denied.path)
    if match.paths and not (path is not None and any(pattern.matches(path) for pattern in match.paths)):
        yield f"its paths covered {path or denied.path} beside {', '.join(p.text for p in match.paths)}"
    for header in match.headers:
        if not header.holds(denied.headers, only=True):
            yield f"it had {header}"
