"""The kinds of value that intent documents are made of, each with its check and its JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from ringfence.certs.errors import RingfenceError
from ringfence.certs.path_template import PathTemplate
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.policy.paths import PathPattern

_RANGE = re.compile(r"([0-9]{1,5})-([0-9]{1,5})")
MAX_PORTS = 1000  # of one range: a caller's proxy listens on each
LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_HOST = rf"{LABEL}(?:\.{LABEL})*"
_PATTERN = rf"{_HOST}|\*\.{LABEL}(?:\.{LABEL})+"  # of a wildcard, no whole top-level domain
# Without userinfo and fragment.
HTTPS_URI = rf"https://(?:{_HOST}|\[[0-9a-f:.]+\])(?::[0-9]{{1,5}})?/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*"
_SOCKET = r"[A-Za-z0-9._-]{1,64}"
_ADDRESS = rf"(?:{_HOST}|\[[0-9a-f:.]+\])(?::[0-9]{{1,5}})?"
_DURATION = re.compile(r"(?=.)(?:([0-9]{1,3})d)?(?:([0-9]{1,5})h)?(?:([0-9]{1,5})m)?(?:([0-9]{1,6})s)?")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:[Zz]|[+-]\d\d:\d\d)")
_METHOD = r"[A-Z]{1,32}"
_HEADER = r"[a-z0-9](?:[-a-z0-9]{0,126}[a-z0-9])?"  # no underscore: proxies refuse such headers
_WORD = r"[A-Za-z_][A-Za-z0-9_]*"  # as protobuf names services and methods
_SPAN = re.compile(r"([0-9]{1,9})(ms|s|m|h)")
_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}

MIN_TTL = timedelta(seconds=5)
MAX_TTL = timedelta(days=7)
MAX_TEXT = 1024
MAX_HOST = 253


def problem(code: str, message: str, hint: str = "") -> PydanticCustomError:
    """A value's own error: pydantic carries the code of the finding it becomes."""
    return PydanticCustomError(code, "{message}", {"message": message, "hint": hint})


def _spelled(pattern: str, code: str, what: str, longest: int = MAX_HOST) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if len(text) > longest or not compiled.fullmatch(text):
            raise problem(code, f"{text!r} is no {what}")
        return text

    return check


def _text(pattern: str, code: str, what: str) -> Any:
    return Annotated[
        str,
        AfterValidator(_spelled(pattern, code, what)),
        WithJsonSchema({"type": "string", "pattern": f"^{pattern}$", "maxLength": MAX_HOST}),
    ]


def _duration(value: object) -> timedelta:
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise problem(
            "RF1108", f"{value!r} is no duration", "Write a number with d, h, m or s, such as 90s, 15m or 1h30m"
        )
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    span = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    if not MIN_TTL <= span <= MAX_TTL:
        raise problem("RF1108", f"{value} is out of range", "A lifetime is between 5s and 7d")
    return span


def _span(value: object) -> timedelta:
    found = _SPAN.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        hint = "Write a number with ms, s, m or h, such as 250ms or 2s"
        raise problem("RF1108", f"{value!r} is no span of time", hint)
    span = timedelta(milliseconds=int(found[1]) * _MILLISECONDS[found[2]])
    if not timedelta(0) < span <= MAX_TTL:
        raise problem("RF1108", f"{value} is out of range", "A span is between 1ms and 168h")
    return span


def _time(value: object) -> datetime:
    hint = "Write a date, a time and an offset, such as 2026-12-31T00:00:00Z"
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise problem("RF1108", f"{value!r} is no point in time", hint)
    try:
        return datetime.fromisoformat(value.upper())
    except ValueError as error:
        raise problem("RF1108", f"{value!r} is no point in time: {error}", hint) from None


def _path(value: str) -> str:
    try:
        return PathPattern(value).text
    except RingfenceError as error:
        raise problem("RF1107", error.detail, error.hint) from None


def _port_range(value: str) -> str:
    found = _RANGE.fullmatch(value)
    first, last = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 0 < first < last < 1 << 16 or last - first >= MAX_PORTS:
        hint = f"Write FIRST-LAST, from 1 to 65535, at most {MAX_PORTS} ports"
        raise problem("RF1104", f"{value!r} is no range of ports", hint)
    return value


def _spiffe_id(value: str) -> str:
    try:
        found = SpiffeId.parse(value)
    except RingfenceError as error:
        raise problem("RF1105", error.detail, error.hint) from None
    if not found.path:
        raise problem("RF1105", f"{value} is a trust domain and no caller", "Write {trustDomain: NAME} for all of it")
    return value


def _rank_holder(value: str) -> str:
    try:
        [held] = PathTemplate.parse(f"/rank/{{{value}:number}}").placeholders
    except (RingfenceError, ValueError):
        raise problem("RF1106", f"no attestor makes the selector {value!r}", "Write KIND.NAME as in match") from None
    if held.kind == "launch":
        raise problem("RF1106", f"{value} is said by the launcher, not found by match", "Leave it out with launch")
    return value


def _cidr(value: str) -> str:
    try:
        return str(ip_network(value))
    except ValueError as error:
        raise problem(
            "RF1104", f"{value!r} is no range of addresses: {error}", "Write 10.0.0.0/8 or fd00::/8"
        ) from None


def _trust_domain(value: str) -> str:
    try:
        return TrustDomain(value).name
    except RingfenceError as error:
        raise problem("RF1105", error.detail, error.hint) from None


Name = _text(LABEL, "RF1105", "name")
Host = _text(_HOST, "RF1105", "host name in lower case")
HostPattern = _text(rf"(?:{_PATTERN})", "RF1105", "host name in lower case, nor *.NAME.NAME")
HttpsUri = _text(HTTPS_URI, "RF1105", "URL https://HOST/PATH")
SocketName = _text(_SOCKET, "RF1105", "file name of a socket")
Address = _text(_ADDRESS, "RF1104", "address HOST or HOST:PORT")
Method = _text(_METHOD, "RF1104", "HTTP method in upper case")
HeaderName = _text(_HEADER, "RF1104", "header name in lower case, without underscores")
GrpcService = _text(rf"{_WORD}(?:\.{_WORD})*", "RF1104", "gRPC service, package.Service")
GrpcMethod = _text(_WORD, "RF1104", "gRPC method")
Path = Annotated[str, AfterValidator(_path), WithJsonSchema({"type": "string", "pattern": "^/"})]
TrustDomainName = Annotated[
    str, AfterValidator(_trust_domain), WithJsonSchema({"type": "string", "pattern": "^[a-z0-9._-]{1,255}$"})
]
Cidr = Annotated[str, AfterValidator(_cidr), WithJsonSchema({"type": "string", "pattern": "^[0-9a-f.:]+(/[0-9]+)?$"})]
SpiffeIdText = Annotated[
    str, AfterValidator(_spiffe_id), WithJsonSchema({"type": "string", "pattern": "^spiffe://[a-z0-9._-]+/"})
]
RankHolder = Annotated[
    str, AfterValidator(_rank_holder), WithJsonSchema({"type": "string", "pattern": "^[a-z0-9_]+[.][a-z0-9_-]+"})
]
Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$", "minLength": 2}),
]
Span = Annotated[
    timedelta,
    BeforeValidator(_span),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"}),
]
Time = Annotated[datetime, BeforeValidator(_time), WithJsonSchema({"type": "string", "format": "date-time"})]
Percent = Annotated[int, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
PortNumber = Annotated[int, Field(ge=1, le=65535)]
PortRange = Annotated[
    str, AfterValidator(_port_range), WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,5}-[0-9]{1,5}$"})
]
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
SelectorSet = Annotated[dict[str, str | int], Field(min_length=1, max_length=32)]
