"""A decision told to a person: who called what, which line of intent decided, and what would have allowed it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

_MOST_LINES = 16
_LABEL = 11
_POINTS = {
    "envoy.http": "the proxy of the destination judged the request",
    "envoy.tcp": "the proxy of the destination judged the connection",
    "envoy.tls": "the proxy of the destination refused the handshake",
    "envoy.egress": "the caller's own proxy judged it on the way out",
    "model": "asked of the intent; nobody called",
}


def tell(decision: Any) -> str:
    """*decision* (an admin.v1 Decision) as lines; quotes the rule where its file can be read from here."""
    return "\n".join(_lines(decision))


def place(decision: Any) -> str:
    """`file:line` of the rule; empty for a named default."""
    return f"{decision.path}:{decision.line}" if decision.path else ""


def moment(time_ns: int) -> str:
    """A time as people write it, UTC, to the millisecond."""
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00")


def quote(path: str, line: int, rule: str) -> tuple[str, ...]:
    """The document that begins at *line*, numbered; nothing when it cannot be read or is not about *rule* any more."""
    name = rule.rpartition("/")[2]
    try:
        with Path(path).open(encoding="utf-8") as file:
            text = list(islice(file, line - 1, line - 1 + _MOST_LINES))
    except (OSError, UnicodeDecodeError):
        return ()
    end = next((i for i, content in enumerate(text) if i and content.startswith(("---", "..."))), len(text))
    return (
        tuple(f"{line + i:>6} | {content.rstrip()}" for i, content in enumerate(text[:end]))
        if any(name in content for content in text[:end])
        else ()
    )


def _lines(decision: Any) -> Iterator[str]:
    request = " ".join(filter(None, [decision.method, decision.request_path]))
    status = f" ({decision.status})" if decision.status else ""
    yield f"{'ALLOWED' if decision.allowed else 'DENIED'}{status}  {decision.source} -> {decision.destination}"
    for label, text in (
        ("request", request),
        ("decision", decision.id),
        ("when", f"{moment(decision.time_ns)} UTC"),
        ("where", _where(decision)),
        ("goes to", decision.attributes.get("route", "")),
        ("rule", decision.rule),
        ("because", decision.reason),
        ("owner", decision.owner),
        ("line", place(decision)),
    ):
        yield from _field(label, text)
    for quoted in quote(decision.path, decision.line, decision.rule) if decision.path else ():
        yield f"  {quoted}"
    for label, text in (
        ("revision", decision.revision),
        ("author", decision.author),
        ("commit", decision.commit),
        ("shadow", _shadow(decision)),
        ("handshake", decision.attributes.get("tls.failure", "")),
        ("would allow", "" if decision.allowed else decision.attributes.get("nearest", "no Allow names this")),
        ("pushed by", decision.attributes.get("push.trace_id", "")),
    ):
        yield from _field(label, text)


def _field(label: str, text: str) -> Iterator[str]:
    if text:
        yield f"  {label.ljust(_LABEL)}  {text}"


def _where(decision: Any) -> str:
    listener = decision.attributes.get("listener", "")
    return f"{_POINTS.get(decision.point, decision.point)} ({', '.join(filter(None, [decision.point, listener]))})"


def _shadow(decision: Any) -> str:
    verb = "deny" if decision.allowed else "allow"
    return f"{decision.shadow_rule} would {verb} it if it were enforced" if decision.shadow_rule else ""
