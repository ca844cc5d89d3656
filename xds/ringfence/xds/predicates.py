"""What matcher trees ask of a request or a connection: Envoy's inputs, and predicates on what they give."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from ipaddress import ip_network
from typing import Any

from ringfence.policy.headers import HeaderMatch
from ringfence.policy.model import Effect, HttpMatch
from ringfence.xds import codec

# A matcher, a predicate or what follows a match, as plain fields: they become messages where they are encoded.
Fields = dict[str, Any]

_IP = "envoy.extensions.matching.input_matchers.ip.v3.Ip"
_DIRECT_SOURCE = "envoy.extensions.matching.common_inputs.network.v3.DirectSourceIPInput"
PEER_SERIAL = "ringfence.peer.serial"  # filter state of an inbound connection: the serial of the caller's certificate


def is_method(method: str) -> Fields:
    """The predicate that holds for one HTTP method."""
    return header(":method", {"exact": method})


def asks(match: HttpMatch, effect: Effect) -> Fields:
    """The predicate of one alternative of a rule's `http`."""
    parts: list[Fields] = []
    if match.methods:
        parts.append(either("or_matcher", [is_method(method) for method in sorted(match.methods)]))
    if match.paths:
        paths = [header(":path", {"safe_regex": regex(pattern.regex)}) for pattern in sorted(match.paths)]
        parts.append(either("or_matcher", paths))
    parts += (_has(wanted, effect) for wanted in match.headers)
    if not parts:
        parts.append(header(":method", {"safe_regex": regex(".+")}))  # restricts nothing: any request has a method
    return either("and_matcher", parts)


def _has(wanted: HeaderMatch, effect: Effect) -> Fields:
    """Envoy joins the lines of a repeated header by commas here, and finds nothing where there is none."""
    text = wanted.regex_of_only if effect is Effect.ALLOW else wanted.regex_of_any
    return header(wanted.name, {"safe_regex": regex(text)})


def either(kind: str, predicates: Sequence[Fields]) -> Fields:
    """A list of predicates joined; Envoy wants at least two in a list."""
    return predicates[0] if len(predicates) == 1 else {kind: {"predicate": list(predicates)}}


def header(name: str, value_match: Fields) -> Fields:
    """The predicate on the value of one header; `:path` and `:method` are headers too."""
    return {"single_predicate": {"input": _header_input(name), "value_match": value_match}}


@cache
def uri_san() -> Fields:
    """All URI SANs of the peer, joined by commas."""
    return codec.extension(
        "envoy.matching.inputs.uri_san", "envoy.extensions.matching.common_inputs.ssl.v3.UriSanInput"
    )


@cache
def server_name() -> Fields:
    """The name that a TLS client asks for; Envoy writes it in lower case."""
    return codec.extension(
        "envoy.matching.inputs.server_name", "envoy.extensions.matching.common_inputs.network.v3.ServerNameInput"
    )


def asked_name(value_match: Fields) -> Fields:
    """The predicate on that name."""
    return {"single_predicate": {"input": server_name(), "value_match": value_match}}


@cache
def peer_serial() -> Fields:
    """The serial of the certificate that the connection was opened with."""
    return codec.extension(
        "envoy.matching.inputs.filter_state",
        "envoy.extensions.matching.common_inputs.network.v3.FilterStateInput",
        key=PEER_SERIAL,
    )


def as_envoy_writes(serial: str) -> str:
    """A serial as `%DOWNSTREAM_PEER_SERIAL%` has it: hexadecimal, as many whole bytes as the number needs."""
    number = int(serial, 16)
    return number.to_bytes((number.bit_length() + 7) // 8 or 1, "big").hex()


@cache
def _header_input(name: str) -> Fields:
    return codec.extension(
        "envoy.matching.inputs.request_headers", "envoy.type.matcher.v3.HttpRequestHeaderMatchInput", header_name=name
    )


def regex(text: str) -> Fields:
    """A regular expression that the whole value must match."""
    return {"google_re2": {}, "regex": text}


def comes_from(cidrs: Sequence[str]) -> Fields:
    """The predicate on the address of the connection itself, whatever a header or a PROXY line says."""
    ranges = [(network.network_address, network.prefixlen) for network in map(ip_network, cidrs)]
    listed = [{"address_prefix": str(address), "prefix_len": {"value": length}} for address, length in ranges]
    matches = codec.extension("envoy.matching.matchers.ip", _IP, cidr_ranges=listed, stat_prefix="from")
    given = codec.extension("envoy.matching.inputs.direct_source_ip", _DIRECT_SOURCE)
    return {"single_predicate": {"input": given, "custom_match": matches}}
